//! The metadata of a dataset (the front matter of its card): the files of each split, and the column of images.

use serde_json::Value;

/// A subset of a dataset: an element of `configs` in its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subset {
    pub(crate) name: String,
    /// The directory of its files without slashes at both ends; empty for the whole repository.
    pub(crate) directory: String,
    /// The patterns of paths of each split. `None` if the split is determined by file names.
    pub(crate) splits: Option<Vec<(String, Vec<String>)>>,
}

/// The subsets that the metadata list, the default subset first.
pub(crate) fn subsets(card: &Value) -> Vec<Subset> {
    let configs = card.get("configs").and_then(Value::as_array);
    let mut found: Vec<(u8, Subset)> = configs.into_iter().flatten().filter_map(subset).collect();
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, subset)| subset).collect()
}

fn subset(config: &Value) -> Option<(u8, Subset)> {
    let name = config.get("config_name").and_then(Value::as_str).unwrap_or("default").to_owned();
    let directory = config.get("data_dir").and_then(Value::as_str).unwrap_or_default();
    let directory = directory.trim_start_matches("./").trim_matches('/').to_owned();
    let below = |pattern: String| match directory.as_str() {
        _ if pattern.contains("://") => pattern,
        "" => pattern,
        directory => format!("{directory}/{pattern}"),
    };
    let splits: Option<Vec<(String, Vec<String>)>> = match config.get("data_files") {
        None | Some(Value::Null) => None,
        // A list of objects with the name of a split and its paths.
        Some(Value::Array(files)) if files.iter().any(Value::is_object) => Some(
            files
                .iter()
                .filter_map(|file| Some((file.get("split")?.as_str()?.to_owned(), patterns(file.get("path")?))))
                .collect(),
        ),
        Some(Value::Object(files)) => Some(files.iter().map(|(split, path)| (split.clone(), patterns(path))).collect()),
        Some(files) => Some(vec![("train".to_owned(), patterns(files))]),
    };
    let splits = splits.map(|splits| {
        splits.into_iter().map(|(split, paths)| (split, paths.into_iter().map(below).collect())).collect()
    });
    let rank = match config.get("default") {
        Some(Value::Bool(true)) => 0,
        _ if name == "default" => 1,
        _ => 2,
    };
    Some((rank, Subset { name, directory, splits }))
}

fn patterns(value: &Value) -> Vec<String> {
    match value {
        Value::String(pattern) => vec![pattern.clone()],
        Value::Array(patterns) => patterns.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// The first column of images of a subset, according to `dataset_info` in the metadata.
pub(crate) fn image_column(card: &Value, subset: Option<&str>) -> Option<String> {
    let info = card.get("dataset_info")?;
    let name = |info: &Value| info.get("config_name").and_then(Value::as_str).unwrap_or("default").to_owned();
    let info = match info {
        Value::Array(infos) => match subset {
            Some(subset) => infos.iter().find(|info| name(info) == subset)?,
            None => infos.first()?,
        },
        info => info,
    };
    let features = info.get("features")?.as_array()?;
    let image = features.iter().find(|feature| feature.get("dtype").and_then(Value::as_str) == Some("image"))?;
    image.get("name")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_forms_of_metadata_are_read() {
        let card = json!({
            "configs": [
                { "config_name": "small", "data_files": "small/*.parquet" },
                { "config_name": "full", "default": true, "data_files": [
                    { "split": "train", "path": ["a/train-*", "b/train-*"] },
                    { "split": "test", "path": "a/test-*" },
                ] },
                { "config_name": "default", "data_dir": "d/", "data_files": ["x.zip", "y.zip"] },
                { "config_name": "below", "data_dir": "./e/" },
            ],
            "dataset_info": [
                { "config_name": "small", "features": [{ "name": "image", "dtype": "image" }] },
                { "config_name": "full", "features": [
                    { "name": "label", "dtype": { "class_label": { "names": { "0": "a" } } } },
                    { "name": "img", "dtype": "image" },
                ] },
            ],
        });
        let found = subsets(&card);
        let names: Vec<_> = found.iter().map(|subset| subset.name.as_str()).collect();
        assert_eq!(names, ["full", "default", "small", "below"]);
        let splits = |i: usize| found[i].splits.clone().expect("with files");
        assert_eq!(splits(0)[0], ("train".into(), vec!["a/train-*".into(), "b/train-*".into()]));
        assert_eq!(splits(0)[1], ("test".into(), vec!["a/test-*".into()]));
        assert_eq!(splits(1), [("train".into(), vec!["d/x.zip".into(), "d/y.zip".into()])]);
        assert_eq!((found[3].directory.as_str(), &found[3].splits), ("e", &None));
        assert_eq!(image_column(&card, Some("full")).as_deref(), Some("img"));
        assert_eq!(image_column(&card, None).as_deref(), Some("image"));
        assert_eq!(image_column(&card, Some("other")), None);
        assert_eq!((subsets(&Value::Null), image_column(&Value::Null, None)), (vec![], None));
    }
}
