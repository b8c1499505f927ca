//! The gradients of a step, summed over all ranks in buckets while the backward pass goes on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor, Var};
use ddpm_distributed::{Communicator, PendingSum};
use ddpm_ops::{Gradient, concatenate_gradients, split_gradients};
use sha2::{Digest, Sha256};

use crate::error::TrainerError;

/// Size of the first bucket in bytes, unless all buckets are smaller. A small one leaves early, as in PyTorch's
/// `DistributedDataParallel`.
const FIRST_BUCKET_BYTES: usize = 1 << 20;

/// Which parameters share a bucket, in the order in which their gradients are complete. It is the same on all ranks.
#[derive(Debug)]
pub(crate) struct BucketLayout {
    /// For each bucket, its parameters and their numbers of elements.
    buckets: Vec<Vec<(String, usize)>>,
    /// The bucket of each parameter, and the position within it.
    places: HashMap<String, (usize, usize)>,
}

impl BucketLayout {
    /// Buckets of at most `bucket_bytes` bytes, with at least one parameter each, for gradients of f32 that are
    /// complete in the order of `names`.
    pub(crate) fn new(names: &[String], parameters: &BTreeMap<String, Var>, bucket_bytes: usize) -> Self {
        // There is a bucket even without parameters: the last one also carries the loss.
        let mut buckets: Vec<Vec<(String, usize)>> = vec![Vec::new()];
        let (mut bytes, mut room) = (0, bucket_bytes.min(FIRST_BUCKET_BYTES));
        for name in names {
            let elements = parameters.get(name).map_or(0, |parameter| parameter.elem_count());
            let size = elements * DType::F32.size_in_bytes();
            if bytes > 0 && bytes + size > room {
                buckets.push(Vec::new());
                (bytes, room) = (0, bucket_bytes);
            }
            bytes += size;
            let bucket = buckets.len() - 1;
            buckets[bucket].push((name.clone(), elements));
        }
        let place = |(bucket, parameters): (usize, &Vec<(String, usize)>)| {
            let names = parameters.iter().enumerate();
            names.map(|(position, (name, _))| (name.clone(), (bucket, position))).collect::<Vec<_>>()
        };
        let places = buckets.iter().enumerate().flat_map(place).collect();
        Self { buckets, places }
    }

    /// Checks that all ranks have this layout: otherwise they would add gradients of different parameters.
    ///
    /// # Errors
    /// [`TrainerError::Ranks`] on every rank if one has another layout, and when a rank does not answer.
    pub(crate) fn check_same(&self, communicator: &dyn Communicator) -> Result<(), TrainerError> {
        let mut hash = Sha256::new();
        for bucket in &self.buckets {
            bucket.iter().for_each(|(name, elements)| hash.update(format!("{name} {elements}\n")));
            hash.update("\n");
        }
        check_same_bytes(communicator, hash.finalize().to_vec(), "the names and sizes of the network's parameters")
    }
}

/// Checks that `bytes` is the same on all ranks; `what` describes it.
///
/// # Errors
/// [`TrainerError::Ranks`] on every rank if one differs, naming the first, and when a rank does not answer.
pub(crate) fn check_same_bytes(
    communicator: &dyn Communicator,
    bytes: Vec<u8>,
    what: &str,
) -> Result<(), TrainerError> {
    let of_all = communicator.gather(bytes)?;
    let differs = of_all.and_then(|of_all| of_all.iter().position(|bytes| *bytes != of_all[0]));
    let verdict = differs.map_or(Vec::new(), |rank| (rank as u64).to_le_bytes().to_vec());
    let verdict = communicator.broadcast(verdict)?;
    let Ok(rank) = <[u8; 8]>::try_from(verdict.as_slice()) else { return Ok(()) };
    let rank = u64::from_le_bytes(rank) as usize;
    let host = communicator.members().get(rank).map_or("", |member| member.host.as_str());
    Err(TrainerError::Ranks(format!("{what}: expected the same on all ranks, found others on rank {rank} on {host}")))
}

/// The sums of one step.
#[derive(Debug)]
pub(crate) struct GradientBuckets<'a> {
    communicator: &'a dyn Communicator,
    layout: &'a BucketLayout,
    /// The gradients of each bucket that has not been sent, as far as they are complete.
    waiting: Vec<Vec<Option<Gradient>>>,
    sums: Vec<PendingSum>,
}

/// A step's gradients and loss, summed over all ranks.
#[derive(Debug)]
pub(crate) struct SummedGradients {
    pub(crate) gradients: BTreeMap<String, Gradient>,
    /// A scalar.
    pub(crate) loss: Tensor,
    /// A scalar: the number of ranks that were asked to stop.
    pub(crate) stops: Tensor,
    /// How long the caller waited for sums: communication that no computation hides.
    pub(crate) waited: Duration,
}

impl<'a> GradientBuckets<'a> {
    pub(crate) fn new(communicator: &'a Arc<dyn Communicator>, layout: &'a BucketLayout) -> Self {
        let empty = |bucket: &Vec<(String, usize)>| bucket.iter().map(|_| None).collect();
        let waiting = layout.buckets.iter().map(empty).collect();
        Self { communicator: communicator.as_ref(), layout, waiting, sums: Vec::new() }
    }

    /// Takes the complete gradient of a parameter, and sends the buckets that it completes. Buckets leave in the order
    /// of the layout; the last one waits for [`GradientBuckets::finish`].
    ///
    /// # Errors
    /// When the parameter is not in the layout, or a bucket cannot be sent.
    pub(crate) fn add(&mut self, name: &str, gradient: Gradient) -> Result<(), TrainerError> {
        let Some(&(bucket, position)) = self.layout.places.get(name) else {
            return Err(TrainerError::Ranks(format!("{name}: expected no gradient, as at the start, found one")));
        };
        self.waiting[bucket][position] = Some(gradient);
        while self.sums.len() + 1 < self.waiting.len() && self.waiting[self.sums.len()].iter().all(Option::is_some) {
            self.send(self.sums.len(), &[])?;
        }
        Ok(())
    }

    /// Sends the last bucket with the loss and whether this rank was asked to stop, and waits for all sums.
    ///
    /// # Errors
    /// When a gradient is missing, or a rank has ended or does not answer.
    pub(crate) fn finish(mut self, loss: &Tensor, stop: bool) -> Result<SummedGradients, TrainerError> {
        let stop = Tensor::new(&[f32::from(u8::from(stop))], &Device::Cpu)?.to_device(loss.device())?;
        let rest = [Gradient::from(loss.flatten_all()?), Gradient::from(stop)];
        while self.sums.len() < self.waiting.len() {
            let bucket = self.sums.len();
            self.send(bucket, if bucket + 1 == self.waiting.len() { &rest } else { &[] })?;
        }
        let waiting = Instant::now();
        let sums = self.sums.into_iter().map(PendingSum::finish).collect::<Result<Vec<_>, _>>()?;
        let waited = waiting.elapsed();

        let mut gradients = BTreeMap::new();
        for (sum, bucket) in sums.iter().zip(&self.layout.buckets) {
            let sizes: Vec<usize> = bucket.iter().map(|(_, elements)| *elements).collect();
            let names = bucket.iter().map(|(name, _)| name.clone());
            // Loss and stops follow the gradients of the last bucket.
            let sum = sum.narrow(0, 0, sizes.iter().sum())?;
            gradients.extend(names.zip(split_gradients(&sum, &sizes)?));
        }
        let last = sums.last().expect("a layout has at least one bucket");
        let loss = last.get(last.elem_count() - 2)?;
        let stops = last.get(last.elem_count() - 1)?;
        Ok(SummedGradients { gradients, loss, stops, waited })
    }

    /// Starts the sum of a bucket, followed by `rest`.
    fn send(&mut self, bucket: usize, rest: &[Gradient]) -> Result<(), TrainerError> {
        let names = self.layout.buckets[bucket].iter().map(|(name, _)| name);
        let gradients = std::mem::take(&mut self.waiting[bucket]).into_iter().zip(names);
        let complete = gradients.map(|(gradient, name)| {
            let missing = || TrainerError::Ranks(format!("{name}: expected a gradient, as at the start, found none"));
            gradient.ok_or_else(missing)
        });
        let gradients = complete.collect::<Result<Vec<Gradient>, _>>()?;
        let all: Vec<&Gradient> = gradients.iter().chain(rest).collect();
        self.sums.push(self.communicator.start_sum(concatenate_gradients(&all)?)?);
        Ok(())
    }
}
