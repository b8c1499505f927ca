//! The update on a device equals clipping, Adam and the EMA one after the other. Its kernels run on the device that
//! DDPM_TEST_DEVICE names, or are emulated on the CPU.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use candle_core::{DType, Tensor, Var};
use ddpm_ops::{AdamStep, AdamUpdate, DeviceUpdate, Gradient, UpdateHyperparameters, Updated, adam_step, ema_step};
use ddpm_testkit::{assert_close, device};

/// The environment variable that makes the CPU emulate a GPU.
const EMULATE: &str = "DDPM_EMULATE_CUDA";

const LEARNING_RATE: f64 = 1e-2;

const STEP: UpdateHyperparameters = UpdateHyperparameters {
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    coupled_weight_decay: 0.02,
    decoupled_weight_decay: 0.1,
    max_norm: Some(1.0),
    ema_decay: 0.7,
    ema_warmup: true,
};

/// A vector longer than one block updates, a matrix, and a scalar-like vector.
const SHAPES: [&[usize]; 3] = [&[70_001], &[3, 5], &[1]];

fn numbers(shape: &[usize], seed: usize) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1000) as f32 / 500.0 - 1.0).collect();
    Tensor::from_vec(values, shape, &device()).unwrap()
}

/// The parameter, both moments and the EMA of each shape.
fn vars() -> Vec<[Var; 4]> {
    let var = |tensor: &Tensor| Var::from_tensor(tensor).unwrap();
    let all = |(i, shape): (usize, &&[usize])| {
        let (start, zeros) = (numbers(shape, i), Tensor::zeros(*shape, DType::F32, &device()).unwrap());
        [var(&start), var(&zeros), var(&zeros), var(&start)]
    };
    SHAPES.iter().enumerate().map(all).collect()
}

/// The gradients of step k. The last parameter has none in the second step.
fn gradients(k: usize) -> Vec<Option<Tensor>> {
    let scale = if k == 0 { 1e-3 } else { 1.0 };
    let gradient =
        |(i, shape): (usize, &&[usize])| (k != 1 || i != 2).then(|| (numbers(shape, 10 * k + i + 3) * scale).unwrap());
    SHAPES.iter().enumerate().map(gradient).collect()
}

#[test]
fn the_device_update_is_clipping_adam_and_the_average() {
    let (found, expected) = (vars(), vars());
    let updated = |[parameter, moment1, moment2, average]: &[Var; 4]| Updated {
        parameter: parameter.clone(),
        moment1: moment1.clone(),
        moment2: moment2.clone(),
        average: average.clone(),
    };
    if !DeviceUpdate::supports(&found[0][0]) {
        assert!(std::env::var_os(EMULATE).is_none(), "the kernels are not emulated although {EMULATE} is set");
        // The variable is read once in a process, and all tests of this file need it.
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        assert!(again.env(EMULATE, "1").status().unwrap().success());
        return;
    }
    let mut update = DeviceUpdate::new(found.iter().map(updated).collect()).unwrap();
    let loss = |value: f32| Tensor::new(value, &device()).unwrap();
    let mut norms = Vec::new();
    for k in 0..3 {
        let of_step = gradients(k);
        let given: Vec<_> = of_step.iter().map(|g| g.clone().map(Gradient::from)).collect();
        let mut step = |loss: Tensor| {
            update.begin(LEARNING_RATE).unwrap();
            update.launch(&given, &loss, &STEP).unwrap();
        };
        step(loss(0.5 + k as f32));
        // A step with a loss that is not finite changes nothing and is not counted.
        step(loss(f32::NAN));

        let squares = |g: &Tensor| g.to_dtype(DType::F64).unwrap().sqr().unwrap().sum_all().unwrap().to_scalar::<f64>();
        let norm = of_step.iter().flatten().map(|g| squares(g).unwrap()).sum::<f64>().sqrt();
        norms.push(norm);
        let step = AdamStep {
            beta1: STEP.beta1,
            beta2: STEP.beta2,
            epsilon: STEP.epsilon,
            learning_rate: LEARNING_RATE,
            bias_correction1: 1.0 - STEP.beta1.powi(k as i32 + 1),
            bias_correction2: 1.0 - STEP.beta2.powi(k as i32 + 1),
            gradient_scale: (1.0 / (norm + 1e-6)).min(1.0),
            coupled_weight_decay: STEP.coupled_weight_decay,
            decoupled_weight_decay: STEP.decoupled_weight_decay,
        };
        for ([parameter, moment1, moment2, average], gradient) in expected.iter().zip(&of_step) {
            if let Some(gradient) = gradient {
                let gradient = &Gradient::from(gradient.clone());
                adam_step(&[AdamUpdate { parameter, moment1, moment2, gradient }], step).unwrap();
            }
            let decay = STEP.ema_decay.min(1.0 - (1.0 + k as f64).powf(-2.0 / 3.0));
            ema_step(&[(average, parameter.as_tensor())], decay).unwrap();
        }
    }
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        for (j, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert_close(&format!("parameter {i}, {j}"), found, expected, 2e-6);
        }
    }
    assert_eq!(update.pending(), 6);
    let records = update.records().unwrap();
    assert_eq!(records.iter().map(|r| r.skipped).collect::<Vec<_>>(), [false, true, false, true, false, true]);
    for (k, norm) in norms.iter().enumerate() {
        assert_eq!(records[2 * k].loss, 0.5 + k as f64);
        assert!((records[2 * k].gradient_norm / norm - 1.0).abs() < 1e-6, "{records:?} {norms:?}");
    }
    assert_eq!(update.pending(), 0);
}
