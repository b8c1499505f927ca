//! Files of reference statistics, `.npz`.

use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::Path;

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::error::{MetricsError, Result};
use crate::feature_statistics::FeatureStatistics;
use crate::npy_array::{NpyHeader, npy_bytes};

/// The largest width of statistics in a file. A covariance of this width takes 512 MiB.
const MAX_WIDTH: u64 = 8192;

/// Reads the arrays `mu` `[width]` and `sigma` [width, width] of an `.npz` file, f32 or f64, compressed or not.
///
/// These are the reference statistics of [pytorch-fid](https://github.com/mseitz/pytorch-fid),
/// [EDM](https://github.com/NVlabs/edm), [ADM](https://github.com/openai/guided-diffusion/tree/main/evaluations) and
/// [clean-fid](https://github.com/GaParmar/clean-fid). The number of samples is read from the array `n` if there is
/// one, as in files of [`write_statistics`]. Other arrays are ignored.
///
/// Statistics are only comparable if their features come from the same network and preprocessing; a file does not say
/// which.
///
/// The width is at most 8192. Nothing of the size that a shape announces is allocated before there are as many bytes,
/// and nothing in the file is executed.
///
/// # Errors
/// [`MetricsError::Io`]; [`MetricsError::Archive`] for a file that is not an archive; [`MetricsError::Field`] for an
/// array that is missing, truncated, of another type or shape, or for values that are not those of a covariance.
pub fn read_statistics(path: impl AsRef<Path>) -> Result<FeatureStatistics> {
    read_named(path.as_ref(), "mu", "sigma")
}

/// Reads the arrays `mu_s` and `sigma_s`, the statistics of spatial features (sFID) in the files of
/// [ADM](https://github.com/openai/guided-diffusion/tree/main/evaluations).
///
/// # Errors
/// Those of [`read_statistics`].
pub fn read_spatial_statistics(path: impl AsRef<Path>) -> Result<FeatureStatistics> {
    read_named(path.as_ref(), "mu_s", "sigma_s")
}

/// Writes `mu`, `sigma` and, if it is known, the number of samples `n`, as `numpy.savez` does. They
/// are not compressed, because covariances hardly get smaller. The file gets its name when it is complete; a file of
/// this name is replaced.
///
/// # Errors
/// [`MetricsError::Io`].
///
/// # Examples
/// ```no_run
/// use ddpm_metrics::{FeatureStatistics, Features, read_statistics, write_statistics};
///
/// let statistics = FeatureStatistics::of(&Features::new(vec![0.0, 1.0, 2.0], 1)?)?;
/// write_statistics("reference.npz", &statistics)?;
/// assert_eq!(read_statistics("reference.npz")?, statistics);
/// # Ok::<(), ddpm_metrics::MetricsError>(())
/// ```
pub fn write_statistics(path: impl AsRef<Path>, statistics: &FeatureStatistics) -> Result<()> {
    let path = path.as_ref();
    let failed = |source| MetricsError::Io { action: "write", path: path.to_owned(), source };
    let mut name = path.file_name().ok_or_else(|| failed(std::io::ErrorKind::InvalidInput.into()))?.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = File::create_new(&temporary)
        .and_then(|file| write_archive(file, statistics))
        .and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|source| {
        // The error of the write is the one to report, whether or not the rest of it can be removed.
        drop(std::fs::remove_file(&temporary));
        failed(source)
    })
}

fn write_archive(file: File, statistics: &FeatureStatistics) -> std::io::Result<()> {
    let width = statistics.width();
    let bytes = |values: &[f64], shape: &str| npy_bytes("<f8", shape, values.iter().map(|value| value.to_le_bytes()));
    let mut arrays = vec![
        ("mu.npy", bytes(statistics.mean(), &format!("({width},)"))),
        ("sigma.npy", bytes(statistics.covariance(), &format!("({width}, {width})"))),
    ];
    if let Some(count) = statistics.count() {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        arrays.push(("n.npy", npy_bytes("<i8", "()", std::iter::once(count.to_le_bytes()))));
    }
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut archive = ZipWriter::new(file);
    for (name, bytes) in arrays {
        archive.start_file(name, options)?;
        archive.write_all(&bytes)?;
    }
    archive.finish()?.sync_all()
}

fn read_named(path: &Path, mu: &str, sigma: &str) -> Result<FeatureStatistics> {
    let failed = |source| MetricsError::Io { action: "read", path: path.to_owned(), source };
    // A pipe in the place of a file would be waited for.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(MetricsError::Archive { path: path.to_owned(), problem: "not a file".to_owned() });
    }
    let file = BufReader::new(File::open(path).map_err(failed)?);
    let mut archive = StatisticsArchive::open(path, file, mu)?;
    let mean = archive.read(mu, |shape| matches!(shape, [width] if (1..=MAX_WIDTH).contains(width)), "[width]")?;
    let width = mean.len() as u64;
    let covariance = archive.read(sigma, |shape| shape == [width, width], &format!("[{width}, {width}]"))?;
    let count = if mu == "mu" { archive.read_count()? } else { None };
    FeatureStatistics::new(mean, covariance, count).map_err(|error| match error {
        MetricsError::Statistics { field, problem } => archive.invalid(if field == "mu" { mu } else { sigma }, problem),
        other => other,
    })
}

/// The arrays of a file.
#[derive(Debug)]
struct StatisticsArchive<'a, R> {
    path: &'a Path,
    archive: ZipArchive<R>,
}

impl<'a, R: Read + Seek> StatisticsArchive<'a, R> {
    fn open(path: &'a Path, file: R, mu: &str) -> Result<Self> {
        let not_npz = |problem: String| MetricsError::Archive { path: path.to_owned(), problem };
        let archive = ZipArchive::new(file)
            .map_err(|error| not_npz(format!("found {}, expected an .npz archive", one_line(&error))))?;
        let has = |name: &str| archive.index_for_name(name).is_some();
        if has("arr_0.npy") && !has(&format!("{mu}.npy")) {
            let found = format!("found arr_0, the images of a batch, expected the statistics {mu}");
            return Err(not_npz(format!("{found}: compute them from the images first")));
        }
        Ok(Self { path, archive })
    }

    /// The values of an array of floating-point numbers whose shape is valid.
    fn read(&mut self, field: &str, valid: impl Fn(&[u64]) -> bool, expected: &str) -> Result<Vec<f64>> {
        let values = self.entry(field, |entry| {
            let header = NpyHeader::read(entry)?;
            if !header.is_float() {
                return Err("found integers, expected f4 or f8".to_owned());
            }
            if !valid(&header.shape) {
                let limit = format!("expected {expected}, with a width from 1 to {MAX_WIDTH}");
                return Err(format!("found the shape {:?}, {limit}", header.shape));
            }
            header.read_values(entry)
        })?;
        values.ok_or_else(|| self.invalid(field, "not in the file".to_owned()))
    }

    /// The array `n`, a single integer, if there is one.
    fn read_count(&mut self) -> Result<Option<u64>> {
        let count = self.entry("n", |entry| {
            let header = NpyHeader::read(entry)?;
            if header.is_float() || !header.shape.is_empty() {
                return Err("expected a single integer of type i8".to_owned());
            }
            Ok(header.read_values(entry)?[0])
        })?;
        match count {
            Some(count) if count < 1.0 => Err(self.invalid("n", format!("found {count}, expected at least 1"))),
            count => Ok(count.map(|count| count as u64)),
        }
    }

    /// Reads an entry of the archive, `None` if it does not exist.
    fn entry<T>(
        &mut self,
        field: &str,
        read: impl FnOnce(&mut dyn Read) -> std::result::Result<T, String>,
    ) -> Result<Option<T>> {
        let found = match self.archive.by_name(&format!("{field}.npy")) {
            Ok(mut entry) => read(&mut entry).map(Some),
            Err(ZipError::FileNotFound) => Ok(None),
            Err(error) => Err(one_line(&error)),
        };
        found.map_err(|problem| self.invalid(field, problem))
    }

    fn invalid(&self, field: &str, problem: String) -> MetricsError {
        MetricsError::Field { path: self.path.to_owned(), field: field.to_owned(), problem }
    }
}

fn one_line(error: &ZipError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
