//! Damaged inputs for readers: mutations of valid files, without coverage guidance, on stable Rust.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// The environment variable with the number of seconds for each reader.
const SECONDS_VARIABLE: &str = "DDPM_FUZZ_SECONDS";
/// The time for each reader in an ordinary test run.
const DEFAULT_SECONDS: f64 = 0.5;
/// A reader that takes longer for an input of a few kilobytes counts as hanging.
const MAX_TIME: Duration = Duration::from_secs(10);

/// Calls `read` with mutations of `seeds` for as long as the environment variable `DDPM_FUZZ_SECONDS` says, and
/// returns the number of calls. The mutations are the same in every run.
///
/// # Panics
/// If `read` panics or takes more than ten seconds. The input is kept in a file in the directory of temporary files,
/// which the message names.
pub fn fuzz(reader: &str, seeds: &[Vec<u8>], mut read: impl FnMut(&[u8])) -> u64 {
    let seconds = std::env::var(SECONDS_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_SECONDS);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut calls = 0;
    while Instant::now() < end {
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..[1, 1, 2, 4, 16][random.below(5)] {
            mutate(&mut input, seeds, &mut random);
        }
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| read(&input)));
        let took = start.elapsed();
        if outcome.is_err() || took > MAX_TIME {
            let path = std::env::temp_dir().join(format!("fuzz-{reader}-{calls}"));
            std::fs::write(&path, &input).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            panic!("the reader {reader} panicked or took {took:?} on the input that is kept in {}", path.display());
        }
        calls += 1;
    }
    calls
}

/// Changes an input in one place.
fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    /// Numbers at which sizes and offsets overflow, in both byte orders, and texts that readers treat specially.
    const EXTREMES: [&[u8]; 10] = [
        &[0, 0, 0, 0],
        &[255, 255, 255, 255],
        &[127, 255, 255, 255],
        &[255, 255, 255, 127],
        &[128, 0, 0, 0],
        &[0, 0, 0, 128],
        &[255; 8],
        b"null",
        b"-1",
        b"1e999",
    ];
    let at = random.below(input.len() + 1);
    let length = random.below(1 + (input.len() - at).min(64));
    match random.below(8) {
        0 => input.truncate(at),
        1 if at < input.len() => input[at] ^= 1 << random.below(8),
        2 if at < input.len() => input[at] = random.below(256) as u8,
        3 => drop(input.drain(at..at + length)),
        4 => {
            let repeated = input[at..at + length].to_vec();
            input.splice(at..at, repeated);
        }
        5 => {
            let extreme = EXTREMES[random.below(EXTREMES.len())];
            let end = (at + extreme.len()).min(input.len());
            input.splice(at..end, extreme.iter().copied());
        }
        6 => {
            // A part of another seed.
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len() + 1);
            let part = &other[from..(from + random.below(64)).min(other.len())];
            input.splice(at..at + length.min(part.len()), part.iter().copied());
        }
        _ => {
            let bytes: Vec<u8> = (0..random.below(9)).map(|_| random.below(256) as u8).collect();
            input.splice(at..at + length.min(bytes.len()), bytes);
        }
    }
}

/// A generator of the kind SplitMix64 (Steele et al. 2014).
struct Random(u64);

impl Random {
    /// A number below `bound`, which is at least 1.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_found_and_its_input_kept() {
        let found = catch_unwind(|| fuzz("test", &[b"abcdefgh".to_vec()], |input| assert!(input.len() > 3, "short")));
        let message = *found.expect_err("some input is short").downcast::<String>().expect("a message");
        let (_, path) = message.split_once("kept in ").expect("a path");
        assert!(std::fs::read(path).expect("the input").len() <= 3);
        std::fs::remove_file(path).expect("it exists");
    }
}
