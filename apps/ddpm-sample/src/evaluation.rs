//! The results of an evaluation with the protocol by which they were computed: `evaluation.json`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use ddpm_checkpoint::{read_metrics, write_atomically};
use ddpm_cli::usage_error;
use ddpm_metrics::{InceptionScore, KernelDistance, PrecisionRecallIntervals};
use ddpm_trainer::{MemorizationForecast, ValidationHistory, ValidationLine, ValidationReport};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bits_per_dim::BitsPerDim;
use crate::feature_choice::FeatureRecord;
use crate::feature_metrics::{Frechet, MetricParameters};
use crate::memorization::Memorization;

/// The name of the file.
pub(crate) const FILE_NAME: &str = "evaluation.json";

/// The contents of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evaluation {
    /// The version of the format: 1.
    pub(crate) format_version: u32,
    /// The program and its version.
    pub(crate) software: String,
    /// What was evaluated: the contents of samples.json, or the path of a folder.
    pub(crate) subject: Value,
    pub(crate) protocol: Protocol,
    pub(crate) results: Results,
}

/// Everything that a result depends on besides the images or the model that are evaluated. Results of different
/// protocols cannot be compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Protocol {
    /// Number of samples.
    pub(crate) samples: usize,
    /// The seed of the samples and of all draws of the evaluation.
    pub(crate) seed: u64,
    /// The images that samples are compared with, and how many of them; None if there are none.
    pub(crate) training: Option<ImageSet>,
    /// The images that the model was not trained on.
    pub(crate) test: Option<ImageSet>,
    /// Number of images for bits per dimension.
    pub(crate) bound_images: Option<usize>,
    /// The features that were compared, and with what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) features: Option<FeatureProtocol>,
}

/// The part of a protocol about features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FeatureProtocol {
    #[serde(flatten)]
    pub(crate) record: FeatureRecord,
    /// What samples are compared with: the name of a set, or the SHA-256 of a file of statistics.
    pub(crate) reference: String,
    pub(crate) parameters: MetricParameters,
}

/// A set of images of a protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImageSet {
    pub(crate) name: String,
    /// Number of images that are used.
    pub(crate) images: usize,
    /// [channel, height, width] after preparation.
    pub(crate) shape: Vec<usize>,
}

/// The metrics that were computed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bits_per_dim: Option<BitsPerDim>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memorization: Option<Memorization>,
    /// The same by the features of the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) feature_memorization: Option<Memorization>,
    /// What the validations of the run say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) validation: Option<Validation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) frechet: Option<Frechet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kid: Option<KernelDistance>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) inception_score: Option<InceptionScore>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) precision_recall: Option<PrecisionRecallIntervals>,
}

/// The losses of the averaged weights during the training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Validation {
    /// The last validation up to the step of the model.
    pub(crate) last: ValidationReport,
    /// The one with the lowest held-out loss.
    pub(crate) best: ValidationReport,
    /// When memorization begins; None if the losses do not show it.
    pub(crate) memorization: Option<MemorizationForecast>,
}

impl Validation {
    /// The validations in the metrics of a run up to `step`; None if there are none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn of_run(metrics: &Path, step: u64) -> anyhow::Result<Option<Self>> {
        let lines: Vec<ValidationLine> = read_metrics(metrics)?;
        let reports = lines.into_iter().map(|line| line.validation).filter(|report| report.step <= step).collect();
        let history = ValidationHistory::new(reports);
        let (Some(last), Some(best)) = (history.reports().last(), history.best()) else { return Ok(None) };
        Ok(Some(Self { last: *last, best: *best, memorization: history.forecast() }))
    }
}

impl Evaluation {
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("the evaluation")?;
        Ok(write_atomically(path, |out| out.write_all(text.as_bytes()))?)
    }

    /// # Errors
    /// When the file cannot be read or is no evaluation.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| usage_error(format!("--compare {shown}: {error}")))?;
        serde_json::from_str(&text).map_err(|error| usage_error(format!("--compare {shown}: no evaluation: {error}")))
    }

    /// The metrics as a table.
    pub(crate) fn table(&self) -> String {
        table(&["metric", "value"], &self.results.rows())
    }

    /// Both evaluations as a table.
    ///
    /// # Errors
    /// When their protocols differ: the message lists the differences.
    pub(crate) fn compare(&self, other: &Self, names: [&Path; 2]) -> anyhow::Result<String> {
        let [ours, theirs] = [&self.protocol, &other.protocol].map(serde_json::to_value);
        let (ours, theirs) = (leaves("", &ours?), leaves("", &theirs?));
        let keys = ours.keys().chain(theirs.keys()).collect::<std::collections::BTreeSet<_>>();
        let show = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
        let differences: Vec<String> = keys
            .into_iter()
            .filter(|key| ours.get(*key) != theirs.get(*key))
            .map(|key| format!("{key}: {} and {}", show(ours.get(key)), show(theirs.get(key))))
            .collect();
        if !differences.is_empty() {
            let differences = differences.join("; ");
            return Err(usage_error(format!(
                "--compare: expected the same protocol, found differences: {differences}"
            )));
        }
        let theirs: BTreeMap<String, String> =
            other.results.rows().into_iter().map(|[name, value]| (name, value)).collect();
        let rows: Vec<[String; 3]> = self
            .results
            .rows()
            .into_iter()
            .map(|[name, value]| {
                let other = theirs.get(&name).cloned().unwrap_or_default();
                [name, value, other]
            })
            .collect();
        let [first, second] = names.map(|name| name.display().to_string());
        Ok(table(&["metric", &first, &second], &rows))
    }
}

impl Results {
    /// The name and the value of each metric.
    fn rows(&self) -> Vec<[String; 2]> {
        let mut rows = Vec::new();
        let mut add = |name: &str, value: String| rows.push([name.to_owned(), value]);
        if let Some(Frechet { name, distance, interval, at_infinity, .. }) = &self.frechet {
            let interval = interval.map_or(String::new(), |[low, high]| format!(" ({low:.3} to {high:.3})"));
            add(name, format!("{:.3}{interval}", distance.distance));
            if let Some(value) = at_infinity {
                add("  for infinitely many samples", format!("{value:.3}"));
            }
        }
        if let Some(kid) = &self.kid {
            add("KID", format!("{:.5} ± {:.5}", kid.mean, kid.standard_deviation));
        }
        if let Some(score) = &self.inception_score {
            add("Inception Score", format!("{:.3} ± {:.3}", score.mean, score.standard_deviation));
        }
        if let Some(both) = &self.precision_recall {
            for (name, share) in [("precision", &both.precision), ("recall", &both.recall)] {
                add(name, format!("{:.3} ({:.3} to {:.3})", share.estimate, share.low, share.high));
            }
        }
        if let Some(bound) = &self.bits_per_dim {
            add("bits/dim", format!("{:.4} ± {:.4}", bound.total, bound.standard_error));
            add("  L_T", format!("{:.3e}", bound.prior));
            add("  L_1 to L_T−1", format!("{:.4}", bound.transitions));
            add("  L_0", format!("{:.4}", bound.decoder));
        }
        if let Some(Validation { last, best, memorization }) = &self.validation {
            let losses =
                format!("{:.4} on training, {:.4} on held-out images", last.training.total, last.held_out.total);
            add(&format!("loss at step {}", last.step), losses);
            add("  lowest held-out loss", format!("{:.4} at step {}", best.held_out.total, best.step));
            if let Some(MemorizationForecast { step, interval: [from, to] }) = memorization {
                add("  memorization begins", format!("at about step {step:.0} ({from:.0} to {to:.0})"));
            }
        }
        for memorization in self.memorization.iter().chain(&self.feature_memorization) {
            let median = |distances: &crate::memorization::Distances| {
                let middle = |values: &[f64]| values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
                format!("{:.4}, ratio {:.3}", middle(&distances.nearest), middle(&distances.ratio))
            };
            let copies = if memorization.copies { "yes" } else { "no" };
            add(&format!("copies of training images, by {}", memorization.features), copies.to_owned());
            add("  samples: median distance", median(&memorization.samples));
            if let Some(held_out) = &memorization.held_out {
                add("  held-out: median distance", median(held_out));
            }
            if let Some(test) = &memorization.test {
                add("  C_T, z-score", format!("{:.2}", test.z_score));
            }
        }
        rows
    }
}

/// The values of a JSON document by their paths.
fn leaves(path: &str, value: &Value) -> BTreeMap<String, Value> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| {
                leaves(&if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, value)
            })
            .collect(),
        other => BTreeMap::from([(path.to_owned(), other.clone())]),
    }
}

/// Rows with aligned columns.
fn table<const N: usize>(header: &[&str; N], rows: &[[String; N]]) -> String {
    let header: [String; N] = header.map(str::to_owned);
    let all: Vec<&[String; N]> = std::iter::once(&header).chain(rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &&[String; N]| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.chars().count())))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    all.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation(samples: usize) -> Evaluation {
        Evaluation {
            format_version: 1,
            software: "test".to_owned(),
            subject: Value::Null,
            protocol: Protocol {
                samples,
                seed: 0,
                training: Some(ImageSet { name: "digits".to_owned(), images: 10, shape: vec![1, 8, 8] }),
                test: None,
                bound_images: None,
                features: None,
            },
            results: Results::default(),
        }
    }

    #[test]
    fn different_protocols_are_not_compared() {
        let names = [Path::new("a"), Path::new("b")];
        assert!(evaluation(5).compare(&evaluation(5), names).is_ok());
        let mut other = evaluation(6);
        other.protocol.training = None;
        let error = evaluation(5).compare(&other, names).expect_err("they differ").to_string();
        assert!(error.contains("samples: 5 and 6") && error.contains("training.images: 10 and nothing"), "{error}");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["FID".to_owned(), "1".to_owned()], ["é".to_owned(), "22".to_owned()]];
        assert_eq!(table(&["name", "value"], &rows), "name  value\nFID   1\né     22\n");
    }
}
