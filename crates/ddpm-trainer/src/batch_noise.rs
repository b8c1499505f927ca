//! The random numbers of a batch, and drawing them ahead of time.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use candle_core::{Device, Result, Tensor};
use ddpm_rng::{Purpose, Stream};

/// What the noise of a batch depends on. The same request always has the same result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoiseRequest {
    pub(crate) seed: u64,
    /// The position of the batch in the data.
    pub(crate) position: u64,
    /// [batch, channel, height, width]
    pub(crate) shape: (usize, usize, usize, usize),
    /// T, the length of the noise schedule.
    pub(crate) schedule_len: usize,
}

/// The random numbers of a batch.
#[derive(Debug)]
pub(crate) struct BatchNoise {
    /// Timesteps, uniform over 0 to T − 1, one per image.
    pub(crate) timesteps: Vec<usize>,
    /// ε ~ N(0, I), [batch, channel, height, width], f32 on the CPU.
    pub(crate) eps: Tensor,
}

impl NoiseRequest {
    /// Draws the numbers. Every draw comes from the stream of the position.
    pub(crate) fn draw(&self) -> Result<BatchNoise> {
        let Self { seed, position, shape, schedule_len } = *self;
        let stream = |purpose| Stream::new(seed, purpose, position);
        let mut random = stream(Purpose::Timesteps);
        let timesteps = (0..shape.0).map(|_| random.below(schedule_len as u64) as usize).collect();
        Ok(BatchNoise { timesteps, eps: stream(Purpose::TrainingNoise).normal(shape, &Device::Cpu)? })
    }
}

/// Draws the noise of the next batch on a thread of its own, while a GPU computes the present step. On the CPU all
/// threads compute the step, and noise is drawn when it is needed.
#[derive(Debug, Default)]
pub(crate) struct NoiseAhead {
    worker: Option<Worker>,
}

/// A thread that answers requests in their order. It ends when its channels are dropped.
#[derive(Debug)]
struct Worker {
    requests: SyncSender<NoiseRequest>,
    results: Receiver<Result<BatchNoise>>,
    /// The request whose result has not been received.
    pending: Option<NoiseRequest>,
}

impl NoiseAhead {
    /// Draws ahead if the steps run on a GPU.
    pub(crate) fn new(device: &Device) -> Self {
        Self { worker: (!device.is_cpu()).then(Worker::start).flatten() }
    }

    /// The noise of `request`. The noise of the batch after it is requested from the thread.
    pub(crate) fn take(&mut self, request: NoiseRequest) -> Result<BatchNoise> {
        let Some(worker) = &mut self.worker else { return request.draw() };
        let drawn = worker.take(request);
        worker.begin(NoiseRequest { position: request.position + 1, ..request });
        drawn.unwrap_or_else(|| request.draw())
    }
}

impl Worker {
    /// Starts the thread; `None` if the system does not permit another thread.
    fn start() -> Option<Self> {
        let (requests, to_draw) = sync_channel::<NoiseRequest>(1);
        let (drawn, results) = sync_channel(1);
        let draw = move || {
            for request in to_draw {
                if drawn.send(request.draw()).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("noise".into()).spawn(draw).ok()?;
        Some(Self { requests, results, pending: None })
    }

    /// The result of the pending request, if it is this one. The result of any other request is discarded.
    fn take(&mut self, request: NoiseRequest) -> Option<Result<BatchNoise>> {
        let pending = self.pending.take()?;
        let result = self.results.recv().ok()?;
        (pending == request).then_some(result)
    }

    fn begin(&mut self, request: NoiseRequest) {
        self.pending = self.requests.send(request).is_ok().then_some(request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(position: u64) -> NoiseRequest {
        NoiseRequest { seed: 3, position, shape: (2, 1, 4, 4), schedule_len: 10 }
    }

    fn numbers(noise: Result<BatchNoise>) -> (Vec<usize>, Vec<f32>) {
        let noise = noise.expect("noise");
        (noise.timesteps, noise.eps.flatten_all().and_then(|eps| eps.to_vec1()).expect("values"))
    }

    /// In order, after a jump as of a resumed run, and after a change of the shape.
    #[test]
    fn noise_that_is_drawn_ahead_is_that_of_the_request() {
        let mut ahead = NoiseAhead { worker: Worker::start() };
        assert!(ahead.worker.is_some());
        let other_shape = NoiseRequest { shape: (3, 1, 4, 4), ..request(8) };
        for next in [request(0), request(1), request(2), request(7), request(8), other_shape, request(7)] {
            assert_eq!(numbers(ahead.take(next)), numbers(next.draw()), "{next:?}");
        }
    }

    #[test]
    fn on_the_cpu_no_thread_is_started() {
        assert!(NoiseAhead::new(&Device::Cpu).worker.is_none());
    }
}
