"""Writes samplers.safetensors: trajectories of diffusers' schedulers over a closed-form denoiser. See README.md.

The noise of the stochastic ones is this project's: `cargo run -p ddpm-rng --example sampling_noise` prints it.
"""

import json
import subprocess
import sys
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, HeunDiscreteScheduler
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
SEED, SHAPE, DRAWS = 3, (2, 1, 3, 5), 50
LINEAR = {"timesteps": 1000, "beta_schedule": "linear"}


def sampling_noise():
    words = [SEED, SHAPE[0], DRAWS, *SHAPE[1:]]
    command = ["cargo", "run", "-q", "-p", "ddpm-rng", "--example", "sampling_noise", "--", *map(str, words)]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [torch.tensor(json.loads(line)).reshape(SHAPE).double() for line in lines]


NOISE = sampling_noise()


class Draws:
    """Replaces the function with which diffusers draws noise, and returns the noise of this project."""

    def __init__(self):
        self.left = iter(NOISE)

    def __call__(self, *_, **__):
        return next(self.left)


def network(scheduler, prediction, x, t):
    """A nonlinear denoiser, nearly the optimal one for data N(0.3, 0.6²). Predicts ε, x_0 or v."""
    alpha_bar = scheduler.alphas_cumprod.double()[int(t)]
    signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    centered = x - signal * 0.3
    eps = centered * noise / (alpha_bar * 0.36 + 1 - alpha_bar) + 0.05 * torch.sin(3 * x)
    if prediction == "epsilon":
        return eps
    # Without signal, predicted x_0 is the mean of the data.
    x_0 = (x - noise * eps) / signal if signal > 1e-3 else torch.full_like(x, 0.3)
    return x_0 if prediction == "x0" else signal * eps - noise * x_0


def log_variance(x):
    """The outputs for a learned variance: its logarithm for `learned`, and 2u − 1 for `learned_range`."""
    return torch.sin(5 * x) - 3, torch.sin(5 * x)


class CorrectedDPMSolver(DPMSolverMultistepScheduler):
    """DPM-Solver++ of third order with the correct weight of the quadratic term, which is twice that of diffusers. Its
    sign is the same for the SDE."""

    def multistep_dpm_solver_third_order_update(self, model_output_list, *args, sample=None, noise=None, **kwargs):
        theirs = super().multistep_dpm_solver_third_order_update(model_output_list, sample=sample, noise=noise)
        alpha, sigma = zip(*(self._sigma_to_alpha_sigma_t(self.sigmas[self.step_index + k]) for k in (1, 0, -1, -2)))
        lam = [torch.log(a) - torch.log(s) for a, s in zip(alpha, sigma)]
        h = lam[0] - lam[1]
        r0, r1 = (lam[1] - lam[2]) / h, (lam[2] - lam[3]) / h
        m0, m1, m2 = (model_output_list[-k] for k in (1, 2, 3))
        d2 = ((m0 - m1) / r0 - (m1 - m2) / r1) / (r0 + r1)
        if self.config.algorithm_type == "dpmsolver++":
            diffusers_weight, g = -((torch.exp(-h) - 1 + h) / h**2 - 0.5), h
        else:
            diffusers_weight, g = (1 - torch.exp(-2 * h) - 2 * h) / (2 * h) ** 2 - 0.5, 2 * h
        weight = 1 - 2 * (1 - (1 - torch.exp(-g)) / g) / g
        return theirs + alpha[0] * (weight - diffusers_weight) * d2


def walk(case):
    for module in ("ddpm", "ddim", "dpmsolver_multistep"):
        getattr(diffusers.schedulers, f"scheduling_{module}").randn_tensor = Draws()
    scheduler, config, prediction = case["scheduler"], case["sampler"], case["prediction"]
    # In f32, ᾱ of a thousand steps has a relative error of 1e-5, which a step with little signal amplifies.
    scheduler.betas = scheduler.betas.double()
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = torch.cumprod(scheduler.alphas, 0)
    if isinstance(scheduler, HeunDiscreteScheduler):
        return heun(scheduler, config, prediction)
    scheduler.set_timesteps(config["steps"])
    x, moments = X_T, []
    for t in scheduler.timesteps:
        output = network(scheduler, prediction, x, t)
        if config["variance"].startswith("learned"):
            logarithm, share = log_variance(x)
            # diffusers takes the output of `learned` as the variance itself.
            variance = torch.exp(logarithm) if config["variance"] == "learned" else share
            output = torch.cat([output, variance], 1)
        x = scheduler.step(output, t, x, **case["options"]).prev_sample.double()
        moments.append(x)
    return torch.stack(moments)


def heun(scheduler, config, prediction):
    scheduler.set_timesteps(config["steps"])
    alpha_bar = scheduler.alphas_cumprod
    # The state is x / √ᾱ. With two of the spacings, the first step has less noise than x_T.
    y, moments = X_T / alpha_bar[int(scheduler.timesteps[0])].sqrt(), []
    for i, t in enumerate(scheduler.timesteps):
        x = scheduler.scale_model_input(y, t)
        y = scheduler.step(network(scheduler, prediction, x, t), t, y).prev_sample
        # Every step but the last takes two calls.
        if i % 2 == 1 or i + 1 == len(scheduler.timesteps):
            moments.append(x_of(scheduler, y))
    return torch.stack(moments)


def x_of(scheduler, y):
    return y / (scheduler.sigmas[scheduler.step_index].double() ** 2 + 1).sqrt()


def cases():
    theirs_of = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}
    methods = {
        "ddpm": (DDPMScheduler, {}),
        "ddim": (DDIMScheduler, {}),
        "dpm-solver": (CorrectedDPMSolver, {}),
        "dpm-solver-sde": (CorrectedDPMSolver, {"algorithm_type": "sde-dpmsolver++"}),
        "heun": (HeunDiscreteScheduler, {"beta_start": 1e-4, "beta_end": 0.02}),
    }

    def case(
        method, steps, spacing="leading", prediction="epsilon", mean="epsilon", schedule=None, options=None, **over
    ):
        scheduler, theirs = methods[method][0], dict(methods[method][1])
        schedule = schedule or LINEAR
        ours = {"method": method, "steps": steps, "spacing": spacing, "mean": mean, "variance": "fixed-small"}
        theirs |= {"timestep_spacing": spacing, "prediction_type": theirs_of[prediction]}
        if method not in ("dpm-solver", "dpm-solver-sde"):
            theirs["clip_sample"] = mean == "clipped-x0"
        if mean == "thresholded-x0":
            theirs["thresholding"] = True
        names = {"order": "solver_order", "clip_range": "clip_sample_range", "threshold_max": "sample_max_value"}
        names["threshold_quantile"] = "dynamic_thresholding_ratio"
        options = dict(options or {})
        for field, value in over.items():
            if field == "theirs_variance":
                theirs["variance_type"] = value
            elif field == "eta":
                ours["eta"], options["eta"] = value, value
            elif field == "variance":
                ours["variance"] = value
                theirs.setdefault("variance_type", value.replace("-", "_"))
            else:
                ours[field], theirs[names[field]] = value, value
        rule = schedule["beta_schedule"]
        theirs["beta_schedule"] = {"scaled-linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}.get(rule, rule)
        if rule == "given":
            del theirs["beta_schedule"]
            theirs["trained_betas"], theirs["num_train_timesteps"] = schedule["betas"], schedule["timesteps"]
        if schedule.get("zero_terminal_snr"):
            theirs["rescale_betas_zero_snr"] = True
        if method == "ddim" and mean != "epsilon":
            options["use_clipped_model_output"] = ours.get("eps_after_clip") != "predicted"
        return dict(
            sampler=ours, prediction=prediction, schedule=schedule, scheduler=scheduler(**theirs), options=options
        )

    made = {}
    clip, dynamic = {"mean": "clipped-x0"}, {"mean": "thresholded-x0", "threshold_max": 1.4, "threshold_quantile": 0.9}
    for prediction in theirs_of:
        made[f"ddpm.{prediction}"] = case("ddpm", 10, prediction=prediction)
        made[f"ddim.{prediction}.clipped"] = case("ddim", 10, prediction=prediction, **clip)
        made[f"dpm-solver.{prediction}"] = case("dpm-solver", 10, "trailing", prediction)
        made[f"heun.{prediction}"] = case("heun", 8, "trailing", prediction)
    for variance in ("fixed-small", "fixed-large", "learned", "learned-range"):
        made[f"ddpm.{variance}.clipped"] = case("ddpm", 20, variance=variance, **clip)
    made["ddpm.fixed-small-log"] = case("ddpm", 10, theirs_variance="fixed_small_log")
    made["ddpm.range"] = case("ddpm", 10, clip_range=0.4, **clip)
    made["ddpm.thresholded"] = case("ddpm", 10, **dynamic)
    for spacing in ("trailing", "linspace"):
        made[f"ddpm.{spacing}"] = case("ddpm", 10, spacing, **clip)
    for rule in ("scaled-linear", "cosine", "sigmoid"):
        made[f"ddpm.{rule}"] = case("ddpm", 10, schedule={"timesteps": 1000, "beta_schedule": rule}, **clip)
    betas = [float(b) for b in np.linspace(0.01, 0.3, 20)]
    given = {"timesteps": 20, "beta_schedule": "given", "betas": betas}
    made["ddpm.given"] = case("ddpm", 20, schedule=given, **clip)
    zero = {"timesteps": 1000, "beta_schedule": "linear", "zero_terminal_snr": True}
    made["ddpm.zero"] = case("ddpm", 10, "trailing", "v", schedule=zero, **clip)
    made["ddim.zero"] = case("ddim", 10, "trailing", "v", schedule=zero, **clip)

    for steps, spacing in ((7, "leading"), (50, "leading"), (10, "trailing"), (50, "trailing")):
        for mean in ("epsilon", "clipped-x0"):
            # Seven steps with trailing spacing cannot be compared, because DDIMScheduler assumes another previous step.
            made[f"ddim.{spacing}.{steps}.{mean}"] = case("ddim", steps, spacing, mean=mean)
    made["ddim.eta"] = case("ddim", 10, eta=0.6)
    made["ddim.eta.all"] = case("ddim", 10, eta=1.0, **clip)
    made["ddim.range"] = case("ddim", 10, clip_range=0.4, **clip)
    made["ddim.thresholded"] = case("ddim", 10, **dynamic)
    predicted = case("ddim", 10, clip_range=0.4, options={}, **clip)
    predicted["sampler"]["eps_after_clip"], predicted["options"]["use_clipped_model_output"] = "predicted", False
    made["ddim.predicted"] = predicted

    for order in (1, 2, 3):
        for method in ("dpm-solver", "dpm-solver-sde"):
            # With 15 steps or more, the last step but one keeps its order.
            for steps in (7, 16):
                made[f"{method}.{order}.{steps}"] = case(method, steps, "linspace", order=order)
        made[f"dpm-solver.{order}.leading"] = case("dpm-solver", 9, order=order)
    made["dpm-solver.thresholded"] = case("dpm-solver", 9, **dynamic)
    made["dpm-solver.cosine"] = case("dpm-solver", 10, schedule={"timesteps": 1000, "beta_schedule": "cosine"})

    made["heun.leading"] = case("heun", 10)
    # 999 / 9 is an integer, so no step is at a fractional timestep.
    made["heun.linspace"] = case("heun", 10, "linspace")
    made["heun.range"] = case("heun", 10, clip_range=0.4, **clip)
    return made


def main():
    tensors, configs = {"x_T": X_T}, {}
    for name, case in cases().items():
        tensors[name] = walk(case)
        configs[name] = {key: case[key] for key in ("sampler", "prediction", "schedule")}
        print(name, tuple(tensors[name].shape), float(tensors[name].abs().max()), file=sys.stderr)
    path = Path(__file__).parent / "samplers.safetensors"
    tensors = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, path, metadata={"config": json.dumps(configs)})
    path.chmod(0o644)


torch.manual_seed(0)
X_T = torch.randn(SHAPE).double()

if __name__ == "__main__":
    main()
