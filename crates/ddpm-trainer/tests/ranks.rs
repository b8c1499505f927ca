//! A training that several ranks share: each rank is a thread here, with a communicator of its own, so that the test
//! needs no MPI. The order of the sums is that of [`Communicator::start_sum`].

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier, Mutex};

use candle_core::{Device, Result, Tensor, Var};
use ddpm_diffusion::GaussianDiffusion;
use ddpm_distributed::{Communicator, DistributedError, LongWork, Member, PendingSum, Single};
use ddpm_ops::{ComputeOptions, FusedConv2d, TrainingCache, recorded};
use ddpm_rng::{Purpose, Stream};
use ddpm_schedule::{BetaSchedule, Schedule};
use ddpm_trainer::{StepOutcome, StepReport, TrainConfig, TrainableModel, Trainer};

/// One rank of a job whose ranks are threads.
#[derive(Debug)]
struct ThreadRank {
    rank: usize,
    members: Vec<Member>,
    shared: Arc<Shared>,
}

/// What the threads exchange: one message of each, in turns that barriers separate.
#[derive(Debug)]
struct Shared {
    barrier: Barrier,
    messages: Mutex<Vec<Vec<u8>>>,
}

impl ThreadRank {
    fn job(size: usize) -> Vec<Self> {
        let shared = Arc::new(Shared { barrier: Barrier::new(size), messages: Mutex::new(vec![Vec::new(); size]) });
        let members: Vec<_> = (0..size).map(|local_rank| Member { host: "here".into(), local_rank }).collect();
        (0..size).map(|rank| Self { rank, members: members.clone(), shared: shared.clone() }).collect()
    }

    /// The messages of all ranks.
    fn exchange(&self, message: Vec<u8>) -> Vec<Vec<u8>> {
        self.shared.messages.lock().unwrap()[self.rank] = message;
        self.shared.barrier.wait();
        let all = self.shared.messages.lock().unwrap().clone();
        self.shared.barrier.wait();
        all
    }
}

/// ((r₀ + r₁) + (r₂ + r₃)) + …
fn pairwise(mut vectors: Vec<Vec<f32>>) -> Vec<f32> {
    while vectors.len() > 1 {
        let pairs = vectors.chunks(2).map(|pair| match pair {
            [a, b] => a.iter().zip(b).map(|(a, b)| a + b).collect(),
            rest => rest[0].clone(),
        });
        vectors = pairs.collect();
    }
    vectors.remove(0)
}

impl Communicator for ThreadRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.members.len()
    }

    fn members(&self) -> &[Member] {
        &self.members
    }

    fn start_sum(&self, bucket: Tensor) -> std::result::Result<PendingSum, DistributedError> {
        let bytes = bucket.to_vec1::<f32>()?.into_iter().flat_map(f32::to_le_bytes).collect();
        let values = |bytes: Vec<u8>| bytes.as_chunks().0.iter().map(|v| f32::from_le_bytes(*v)).collect();
        let sum = pairwise(self.exchange(bytes).into_iter().map(values).collect());
        Single::default().start_sum(Tensor::new(sum, &Device::Cpu)?)
    }

    fn broadcast(&self, bytes: Vec<u8>) -> std::result::Result<Vec<u8>, DistributedError> {
        Ok(self.exchange(bytes).remove(0))
    }

    fn gather(&self, bytes: Vec<u8>) -> std::result::Result<Option<Vec<Vec<u8>>>, DistributedError> {
        Ok(Some(self.exchange(bytes)).filter(|_| self.rank == 0))
    }

    fn barrier(&self) -> std::result::Result<(), DistributedError> {
        self.exchange(Vec::new());
        Ok(())
    }

    fn long_work(&self) -> LongWork {
        LongWork::default()
    }

    fn abort(&self, exit_code: i32) -> ! {
        std::process::exit(exit_code)
    }
}

const BATCHES: usize = 8;

fn config(seed: u64) -> TrainConfig {
    let config = format!(
        r#"{{ "steps": 4, "batch_size": 4, "seed": {seed}, "learning_rate": 0.05, "learning_rate_schedule": "cosine",
        "warmup_steps": 2, "optimizer": "adam", "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0,
        "gradient_clip_norm": 1.0, "gradient_accumulation_steps": {BATCHES}, "gradient_bucket_mb": 1e-5,
        "ema_decay": 0.9, "ema_warmup": true, "checkpoint_every_steps": 5, "keep_last_checkpoints": 2,
        "keep_every_steps": 0, "sample_every_steps": 4, "log_every_steps": 1, "max_skipped_steps": 3 }}"#
    );
    serde_json::from_str(&config).unwrap()
}

/// Three convolutions with SiLU in between, from operations of ddpm-ops, so that gradients are complete one after the
/// other.
fn model(names: [&str; 3]) -> TrainableModel {
    let vars = || -> BTreeMap<String, Var> {
        let draw = |i: usize| Stream::new(5, Purpose::Synthetic, i as u64).normal((1, 1, 3, 3), &Device::Cpu).unwrap();
        let var = |(i, name): (usize, &&str)| (name.to_string(), Var::from_tensor(&draw(i)).unwrap());
        names.iter().enumerate().map(var).collect()
    };
    let (parameters, ema_parameters) = (vars(), vars());
    let of = |vars: &BTreeMap<String, Var>| names.map(|name| vars[name].clone());
    let [first, second, third] = of(&parameters);
    TrainableModel {
        denoiser: Box::new(move |x_t: &Tensor, t: &Tensor, dropout: &mut Stream| {
            let factor = if dropout.bernoulli(0.5) { 0.5 } else { 1.5 };
            let x_t = (x_t * factor)?.broadcast_add(&(t.reshape(((), 1, 1, 1))? / 50.0)?)?;
            recorded(&ComputeOptions::default(), &[&x_t], |tape, values| {
                let x = tape.silu(&tape.conv2d(&FusedConv2d::new(&values[0], &first, None))?)?;
                let x = tape.silu(&tape.conv2d(&FusedConv2d::new(&x, &second, None))?)?;
                tape.conv2d(&FusedConv2d::new(&x, &third, None))
            })
        }),
        parameters,
        ema_denoiser: Box::new(|x_t: &Tensor, _: &Tensor| Ok(x_t.clone())),
        trained_denoiser: None,
        ema_parameters,
        training_cache: TrainingCache::default(),
        classes: None,
    }
}

/// Batch k depends on k alone. The values of batch `bad` are NaN.
fn batch(k: u64, bad: Option<u64>) -> Result<Tensor> {
    let images = Stream::new(0, Purpose::Synthetic, k).normal((4, 1, 4, 4), &Device::Cpu)?;
    if bad == Some(k) { images * f64::NAN } else { Ok(images) }
}

/// The bits of all weights and moments, and the reports, of every rank after four steps.
fn train(ranks: usize, bad: Option<u64>, names: impl Fn(usize) -> [&'static str; 3] + Sync) -> Vec<TrainedRank> {
    let take_steps = |communicator: Arc<dyn Communicator>| -> TrainedRank {
        let schedule = Schedule::new(&BetaSchedule::Linear { start: 1e-3, end: 0.2 }, 50).unwrap();
        let model = model(names(communicator.rank()));
        let trainer = Trainer::new(config(3), 4, GaussianDiffusion::new(schedule), model, Device::Cpu).unwrap();
        let rank = communicator.rank();
        let mut trainer = trainer.with_communicator(communicator).unwrap();
        let share = BATCHES / ranks;
        let mine = (0..u64::MAX).filter(|k| *k as usize % BATCHES / share == rank);
        let mut batches = mine.map(|k| batch(k, bad));
        let mut reports = Vec::new();
        let mut stops = Vec::new();
        for step in 1..=4 {
            let asked = rank + 1 == ranks && step == 3;
            match trainer.step(&mut batches, &|| asked && ranks > 1) {
                Ok(outcome) => assert_eq!(outcome, StepOutcome::Taken),
                Err(error) => return Err(error.to_string()),
            }
            stops.push(trainer.stops_after_step(false));
            reports.extend(trainer.reports().unwrap());
            trainer.check_same_weights().unwrap();
        }
        assert_eq!(stops, [false, false, ranks > 1, false]);
        let snapshot = trainer.snapshot();
        let all = snapshot.ema_parameters.into_iter().chain(snapshot.training);
        let bits =
            |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect();
        Ok((all.map(|(name, t)| (name, bits(t))).collect(), reports))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            ThreadRank::job(ranks).into_iter().map(|rank| scope.spawn(|| take_steps(Arc::new(rank)))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

type TrainedRank = std::result::Result<(Vec<(String, Vec<u32>)>, Vec<StepReport>), String>;

const NAMES: [&str; 3] = ["a", "b", "c"];

#[test]
fn ranks_have_the_weights_of_one_process() {
    let alone = train(1, None, |_| NAMES).remove(0).unwrap();
    for ranks in [2, 4, 8] {
        for (rank, result) in train(ranks, None, |_| NAMES).into_iter().enumerate() {
            let (bits, reports) = result.unwrap();
            assert_eq!(bits, alone.0, "rank {rank} of {ranks}");
            let of_step = |reports: &[StepReport]| -> Vec<_> {
                reports.iter().map(|r| (r.step, r.loss.to_bits(), r.gradient_norm.to_bits())).collect()
            };
            assert_eq!(of_step(&reports), of_step(&alone.1), "rank {rank} of {ranks}");
        }
    }
}

#[test]
fn all_ranks_skip_a_step_that_is_not_finite_on_one() {
    let alone = train(1, Some(13), |_| NAMES).remove(0).unwrap();
    let skipped = |reports: &[StepReport]| reports.iter().map(|report| report.skipped).collect::<Vec<_>>();
    assert_eq!(skipped(&alone.1), [false, true, false, false]);
    for result in train(4, Some(13), |_| NAMES) {
        let (bits, reports) = result.unwrap();
        assert_eq!(skipped(&reports), skipped(&alone.1));
        assert_eq!(bits, alone.0);
    }
}

#[test]
fn ranks_with_different_networks_are_refused() {
    let messages = train(2, None, |rank| if rank == 0 { NAMES } else { ["a", "b", "d"] });
    for message in messages {
        assert_eq!(
            message.unwrap_err(),
            "the ranks of this job do not fit together: the names and sizes of the network's parameters: \
             expected the same on all ranks, found others on rank 1 on here"
        );
    }
}
