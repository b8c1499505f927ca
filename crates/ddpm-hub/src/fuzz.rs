//! Damaged answers of a Hub and damaged model cards. `DDPM_FUZZ_SECONDS` sets the time for each reader.

use serde_json::json;

use crate::dataset_files::{DatasetSelection, dataset_files};
use crate::front_matter::front_matter;
use crate::listing::Listing;
use crate::model_files::model_files;
use crate::repo_id::RepoId;

fn id() -> RepoId {
    "a/b".parse().expect("an id")
}

#[test]
fn fuzz_listings() {
    let files = ["README.md", "data/train-00000-of-00001.parquet", "unet/config.json", "model_index.json"];
    let seed = json!({
        "sha": "0123456789abcdef0123456789abcdef01234567",
        "siblings": files.map(|name| json!({ "rfilename": name, "size": 7, "lfs": { "sha256": "ab" } })),
        "cardData": {
            "configs": [{ "config_name": "c", "data_files": [{ "split": "train", "path": "data/train-*" }] }],
            "dataset_info": { "features": [{ "name": "img", "dtype": "image" }] },
        },
    });
    ddpm_testkit::fuzz("listing", &[seed.to_string().into_bytes()], |input| {
        let Ok(listing) = serde_json::from_slice::<Listing>(input) else { return };
        let Ok(listing) = listing.checked(&id()) else { return };
        drop(dataset_files(&listing, &DatasetSelection::default(), &id()));
        drop(model_files(&listing.names(), &id()));
        listing.files.iter().for_each(|entry| drop(entry.digest()));
    });
}

#[test]
fn fuzz_model_cards() {
    let seed = "---\nlicense: mit\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: \
                ['a/*', &x b]\n- *x\n---\n# Card\n";
    ddpm_testkit::fuzz("front-matter", &[seed.as_bytes().to_vec()], |input| {
        drop(front_matter(&String::from_utf8_lossy(input)));
    });
}
