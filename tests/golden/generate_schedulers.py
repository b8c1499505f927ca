"""Writes schedulers/: the configurations that diffusers saves of the schedulers that are read. See README.md."""

from pathlib import Path

from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, HeunDiscreteScheduler

HERE = Path(__file__).parent / "schedulers"


def main():
    # No value is a default, so that a field that is not read causes an error.
    ddpm = DDPMScheduler(
        num_train_timesteps=400,
        beta_schedule="scaled_linear",
        variance_type="fixed_large",
        clip_sample_range=2.0,
        timestep_spacing="trailing",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
    )
    # Fields that another class does not have stay in its configuration, without an effect.
    clipping = DDPMScheduler(clip_sample=True, clip_sample_range=2.0)
    thresholding = DDPMScheduler(thresholding=True, sample_max_value=3.0, clip_sample=False)
    schedulers = {
        "ddpm": ddpm,
        "ddim": DDIMScheduler(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=2.0),
        "dpm_solver": DPMSolverMultistepScheduler(
            solver_order=3, algorithm_type="sde-dpmsolver++", prediction_type="sample"
        ),
        "heun": HeunDiscreteScheduler(clip_sample=True, timestep_spacing="trailing"),
        "dpm_solver_from_ddpm": DPMSolverMultistepScheduler.from_config(clipping.config),
        "heun_from_ddpm": HeunDiscreteScheduler.from_config(thresholding.config),
    }
    for name, scheduler in schedulers.items():
        scheduler.save_pretrained(HERE / name)


if __name__ == "__main__":
    main()
