//! Which files of a dataset hold the pictures that are wanted.

use crate::card::{image_column, subsets};
use crate::error::{HubError, Result};
use crate::glob::matches;
use crate::listing::{Listing, some_names};
use crate::repo_id::RepoId;

/// What is wanted of a dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `train` where nobody says.
    pub split: Option<String>,
    /// One of the parts that its metadata name: the default one where nobody says.
    pub subset: Option<String>,
}

/// The files of a split.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) paths: Vec<String>,
    /// The column of pictures, where the metadata say.
    pub(crate) column: Option<String>,
}

const PARQUET: [&str; 1] = [".parquet"];
const ARCHIVES: [&str; 4] = [".zip", ".tar", ".tar.gz", ".tgz"];
const IMAGES: [&str; 8] = [".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"];

/// Words that name a split in a path, each list with the name of its split first.
const SPLITS: [&[&str]; 3] =
    [&["train", "training"], &["test", "testing", "eval", "evaluation"], &["validation", "valid", "val", "dev"]];

/// Chooses by the metadata where they name files; else by the names: Parquet before archives before single pictures, of
/// which those of the split, or all of them where no name says a split.
pub(crate) fn dataset_files(listing: &Listing, wanted: &Wanted, id: &RepoId) -> Result<Chosen> {
    let split = wanted.split.as_deref().unwrap_or("train");
    let names = listing.names();
    let known = subsets(&listing.card);
    let of_subset = match wanted.subset.as_deref() {
        Some(name) if !known.is_empty() => Some(known.iter().find(|subset| subset.name == name).ok_or_else(|| {
            let names = known.iter().map(|subset| subset.name.as_str()).collect();
            no_choice("subset", names, name, id)
        })?),
        _ => known.first(),
    };
    let column = image_column(&listing.card, of_subset.map(|subset| subset.name.as_str()).or(wanted.subset.as_deref()));
    let paths = match of_subset {
        Some(subset) => {
            let of_split = subset.splits.iter().find(|(name, _)| name == split).ok_or_else(|| {
                let names = subset.splits.iter().map(|(name, _)| name.as_str()).collect();
                no_choice("split", names, split, id)
            })?;
            let fits = |name: &&str| of_split.1.iter().any(|pattern| matches(pattern, name)) && holds_pictures(name);
            names.iter().copied().filter(fits).map(str::to_owned).collect()
        }
        None => by_names(&names, split, wanted.subset.as_deref()),
    };
    if paths.is_empty() {
        let of =
            format!(" in its split {split}{}", wanted.subset.as_ref().map_or(String::new(), |s| format!(" of {s}")));
        return Err(HubError::NoPictures { repository: id.to_string(), of, found: some_names(&names) });
    }
    Ok(Chosen { paths, column })
}

fn by_names(names: &[&str], split: &str, subset: Option<&str>) -> Vec<String> {
    let below = |name: &str| subset.is_none_or(|subset| name.split('/').any(|part| part == subset));
    for kind in [&PARQUET[..], &ARCHIVES, &IMAGES] {
        let of_kind: Vec<&str> = names.iter().copied().filter(|name| has_ending(name, kind) && below(name)).collect();
        if of_kind.is_empty() {
            continue;
        }
        let of_split: Vec<&str> = of_kind.iter().copied().filter(|name| says(name, split)).collect();
        // Where no name says a split, everything is there to be trained with.
        let silent = split == "train" && !of_kind.iter().any(|name| SPLITS.iter().any(|words| says(name, words[0])));
        let found = if silent { of_kind } else { of_split };
        return found.into_iter().map(str::to_owned).collect();
    }
    Vec::new()
}

/// Whether a part of the path, between what are no letters or digits, is a word for that split.
fn says(path: &str, split: &str) -> bool {
    let words = SPLITS.iter().find(|words| words[0] == split).copied().unwrap_or(&[]);
    let lower = path.to_ascii_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).any(|part| part == split || words.contains(&part))
}

fn holds_pictures(name: &str) -> bool {
    [&PARQUET[..], &ARCHIVES, &IMAGES].iter().any(|kind| has_ending(name, kind))
}

fn has_ending(name: &str, endings: &[&str]) -> bool {
    let lower = name.to_ascii_lowercase();
    endings.iter().any(|ending| lower.ends_with(ending))
}

fn no_choice(field: &'static str, known: Vec<&str>, found: &str, id: &RepoId) -> HubError {
    let show = |text: &str| text.escape_debug().collect::<String>();
    let known = known.into_iter().map(show).collect::<Vec<_>>().join(", ");
    HubError::NoChoice { repository: id.to_string(), field, known, found: show(found) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::listing::Entry;

    fn chosen(names: &[&str], card: Value, split: Option<&str>, subset: Option<&str>) -> Result<Chosen> {
        let files = names.iter().map(|name| Entry::named((*name).to_owned())).collect();
        let listing = Listing { commit: "0".repeat(40), files, card };
        let wanted = Wanted { split: split.map(str::to_owned), subset: subset.map(str::to_owned) };
        dataset_files(&listing, &wanted, &"a/b".parse().expect("an id"))
    }

    #[test]
    fn metadata_go_before_names() {
        let names =
            ["README.md", "x/part-1.parquet", "x/part-2.parquet", "x/notes.txt", "y/held.parquet", "train.parquet"];
        let card = json!({
            "configs": [{ "config_name": "c", "data_files": [
                { "split": "train", "path": "x/*" }, { "split": "test", "path": "y/*" },
            ] }],
            "dataset_info": { "features": [{ "name": "img", "dtype": "image" }] },
        });
        let found = chosen(&names, card.clone(), None, None).expect("a split");
        assert_eq!(
            (found.paths.join(" ").as_str(), found.column.as_deref()),
            ("x/part-1.parquet x/part-2.parquet", Some("img"))
        );
        assert_eq!(chosen(&names, card.clone(), Some("test"), None).expect("a split").paths, ["y/held.parquet"]);
        let error = chosen(&names, card.clone(), Some("dev"), None).expect_err("none").to_string();
        assert!(error.contains("data.split") && error.contains("train, test") && error.contains("dev"), "{error}");
        let error = chosen(&names, card, None, Some("d")).expect_err("none").to_string();
        assert!(error.contains("data.subset") && error.contains("of c,"), "{error}");
    }

    #[test]
    fn names_say_the_split_where_metadata_do_not() {
        let paths = |names: &[&str], split| chosen(names, Value::Null, split, None).expect("pictures").paths;
        let parquet = ["data/test-0-of-1.parquet", "data/train-0-of-1.parquet", "a.zip", "train/a.png"];
        assert_eq!(paths(&parquet, None), ["data/train-0-of-1.parquet"]);
        assert_eq!(paths(&parquet, Some("test")), ["data/test-0-of-1.parquet"]);
        assert_eq!(
            paths(&["default/train/0000.parquet", "default/trainer.parquet"], None),
            ["default/train/0000.parquet"]
        );
        assert_eq!(paths(&["b.parquet", "a/c.parquet"], None), ["b.parquet", "a/c.parquet"]);
        assert_eq!(paths(&["faces.zip", "README.md", "cover.png"], None), ["faces.zip"]);
        assert_eq!(paths(&["train/a.png", "val/b.png", "train/c.JPG"], None), ["train/a.png", "train/c.JPG"]);
        let only_test = chosen(&["test.parquet"], Value::Null, None, None).expect_err("no training set").to_string();
        assert!(only_test.contains("split train") && only_test.contains("test.parquet"), "{only_test}");
        assert!(chosen(&["a.csv"], Value::Null, None, None).is_err());
    }
}
