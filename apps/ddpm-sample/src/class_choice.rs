//! The classes of the images: those of the model, and those that `--class` chooses.

use ddpm_cli::usage_error;
use ddpm_unet::ClassEmbedType;

use crate::model::LoadedModel;

/// The largest number of classes that a message lists.
const MAX_LISTED: usize = 20;

/// The classes of a class-conditional model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelClasses {
    /// The name of each class, in the order of labels. Classes of a pipeline without names are named by their labels.
    names: Vec<String>,
    /// The label that stands for no class, if it is known.
    pub(crate) without_class: Option<u32>,
}

impl ModelClasses {
    /// The classes of `model`; `None` if it has none.
    ///
    /// # Errors
    /// When the network takes embeddings instead of labels.
    pub(crate) fn of(model: &LoadedModel) -> anyhow::Result<Option<Self>> {
        let (network, described) = (&model.network, &model.saved.description.classes);
        if !network.takes_class_labels() {
            return Ok(None);
        }
        let file = model.saved.network_path.display();
        if network.class_embed_type() == Some(ClassEmbedType::Identity) {
            anyhow::bail!(
                "{file}: class_embed_type: expected null or timestep, found identity: such a network takes embeddings \
                 of classes, which no option provides"
            );
        }
        let rows = network.num_class_embeds();
        if described.is_empty() {
            let rows = rows.ok_or_else(|| {
                anyhow::anyhow!("{file}: expected num_class_embeds or a file classes.json, found neither")
            })?;
            return Ok(Some(Self { names: (0..rows).map(|label| label.to_string()).collect(), without_class: None }));
        }
        let names: Vec<String> = described.iter().map(|class| class.name.clone()).collect();
        if let Some(rows) = rows.filter(|rows| *rows < names.len()) {
            let count = names.len();
            anyhow::bail!("{file}: num_class_embeds: expected at least {count}, the number of classes, found {rows}");
        }
        // A timestep embedding has no rows: any label can stand for no class.
        let has_more = rows.is_none_or(|rows| rows > names.len());
        let without_class = has_more.then_some(names.len() as u32);
        Ok(Some(Self { names, without_class }))
    }

    /// The names, in the order of labels.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The classes that the values of `--class` choose, all of them if there are no values.
    ///
    /// # Errors
    /// When a value is no name and no label.
    pub(crate) fn choose(self, values: &[String]) -> anyhow::Result<ChosenClasses> {
        let mut labels = Vec::new();
        for value in values {
            match self.label(value) {
                Some(label) => labels.push(label),
                None if value == "all" => labels.extend(0..self.names.len() as u32),
                None => {
                    for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                        labels.push(self.label(name).ok_or_else(|| self.unknown(name))?);
                    }
                }
            }
        }
        if labels.is_empty() {
            labels = (0..self.names.len() as u32).collect();
        }
        let names = labels.iter().map(|label| self.names[*label as usize].clone()).collect();
        Ok(ChosenClasses { labels, names, without_class: self.without_class })
    }

    /// No class, for all images; `None` if the model has no label for it.
    pub(crate) fn none(&self) -> Option<ChosenClasses> {
        let label = self.without_class?;
        Some(ChosenClasses { labels: vec![label], names: vec!["no class".to_owned()], without_class: Some(label) })
    }

    /// The label with a name; a number that is no name is a label.
    fn label(&self, name: &str) -> Option<u32> {
        let named = self.names.iter().position(|own| own == name);
        let number = || name.parse().ok().filter(|label| *label < self.names.len());
        named.or_else(number).map(|label| label as u32)
    }

    fn unknown(&self, name: &str) -> anyhow::Error {
        let listed = self.names.iter().take(MAX_LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = if self.names.len() > MAX_LISTED { ", …" } else { "" };
        usage_error(format!("--class: expected all, or classes of the model, {listed}{more}, found {name}"))
    }
}

/// The classes that are sampled in turn: image i is of class number i modulo their number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChosenClasses {
    labels: Vec<u32>,
    names: Vec<String>,
    /// The label that stands for no class, if it is known.
    pub(crate) without_class: Option<u32>,
}

impl ChosenClasses {
    /// Number of images unless the command line gives one: up to eight of each class, about a hundred together.
    pub(crate) fn default_number(&self) -> usize {
        const MOST: usize = 100;
        let classes = self.labels.len();
        (classes * (MOST / classes).clamp(1, 8)).min(MOST)
    }

    /// The class of the image with index `image`.
    pub(crate) fn label(&self, image: u64) -> u32 {
        self.labels[self.row(image)]
    }

    /// The name of the class of the image with index `image`.
    pub(crate) fn name(&self, image: u64) -> &str {
        &self.names[self.row(image)]
    }

    /// The row of an image in a grid with one row for each class.
    pub(crate) fn row(&self, image: u64) -> usize {
        (image % self.labels.len() as u64) as usize
    }

    /// The names, in the order of the rows of a grid.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> ModelClasses {
        ModelClasses { names: ["cat", "dog", "7", "a, b"].map(String::from).to_vec(), without_class: Some(4) }
    }

    fn labels(values: &[&str]) -> Result<Vec<u32>, String> {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        classes().choose(&values).map(|chosen| chosen.labels).map_err(|error| error.to_string())
    }

    #[test]
    fn classes_are_chosen_by_name_or_label() {
        assert_eq!(labels(&[]), Ok(vec![0, 1, 2, 3]));
        assert_eq!(labels(&["all"]), Ok(vec![0, 1, 2, 3]));
        assert_eq!(labels(&["dog,cat"]), Ok(vec![1, 0]));
        assert_eq!(labels(&["dog", "dog"]), Ok(vec![1, 1]));
        assert_eq!(labels(&["a, b"]), Ok(vec![3]));
        // Names take precedence over labels.
        assert_eq!(labels(&["7,1"]), Ok(vec![2, 1]));
        let error = labels(&["bird"]).unwrap_err();
        assert_eq!(error, "--class: expected all, or classes of the model, cat, dog, 7, a, b, found bird");
        assert!(labels(&["4"]).is_err());
    }

    #[test]
    fn images_take_the_classes_in_turn() {
        let chosen = classes().choose(&["dog,cat".to_owned()]).unwrap();
        assert_eq!((0..5).map(|image| chosen.label(image)).collect::<Vec<_>>(), [1, 0, 1, 0, 1]);
        assert_eq!((chosen.name(3), chosen.row(3)), ("cat", 1));
        assert_eq!(chosen.default_number(), 16);
        assert_eq!(classes().choose(&[]).unwrap().default_number(), 32);
    }
}
