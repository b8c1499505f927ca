//! Downloads from and uploads to a Hub in this process, which misbehaves in every way that is known of the real Hub or
//! that a malicious one could try.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ddpm_hub::{DatasetSelection, Endpoint, Hub, HubConfig, HubError, RepoId, Token, Visibility};
use ddpm_testkit::{FakeHub, Fault, TOKEN};
use serde_json::{Value, json};

const MODEL: &str = "models/someone/model";

struct World {
    server: FakeHub,
    root: tempfile::TempDir,
}

/// Ten thousand bytes without a period, so that an error in a range is detected.
fn weights() -> Vec<u8> {
    (0..10_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn model_files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("README.md", b"not needed".to_vec()),
        ("model_index.json", b"{}".to_vec()),
        ("unet/config.json", b"{\"a\": 1}".to_vec()),
        ("unet/diffusion_pytorch_model.safetensors", weights()),
        ("unet/diffusion_pytorch_model.bin", vec![7; 5000]),
        ("scheduler/scheduler_config.json", b"{}".to_vec()),
    ]
}

impl World {
    fn new() -> Self {
        let world = Self { server: FakeHub::start(), root: tempfile::tempdir().unwrap() };
        world.add(MODEL, &model_files(), Value::Null);
        world
    }

    fn add(&self, name: &str, files: &[(&str, Vec<u8>)], card: Value) {
        let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (*path, bytes.as_slice())).collect();
        self.server.add(name, &files, card);
    }

    fn config(&self) -> HubConfig {
        HubConfig {
            endpoint: Endpoint::new(&self.server.url()).unwrap(),
            cache: self.root.path().join("hub"),
            token: None,
            offline: false,
            retry_delay: Duration::from_millis(1),
        }
    }

    fn with_token(&self, token: &str) -> Hub {
        Hub::new(HubConfig { token: Token::new(token, "test").unwrap(), ..self.config() })
    }

    fn model(&self) -> Result<PathBuf, HubError> {
        Hub::new(self.config()).model(&id("someone/model"), &())
    }

    fn blobs(&self) -> Vec<PathBuf> {
        let blobs = self.root.path().join("hub/models--someone--model/blobs");
        fs::read_dir(blobs).map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
    }
}

fn id(text: &str) -> RepoId {
    text.parse().unwrap()
}

fn check_model(path: &Path) {
    for (name, bytes) in model_files() {
        let needed = !name.ends_with(".md") && !name.ends_with(".bin");
        assert_eq!(fs::read(path.join(name)).ok(), needed.then_some(bytes), "{name}");
    }
}

#[test]
fn needed_files_are_downloaded_once() {
    let world = World::new();
    let path = world.model().unwrap();
    check_model(&path);
    // The layout of the Python library.
    let commit = world.server.commit(MODEL);
    assert!(path.ends_with(format!("hub/models--someone--model/snapshots/{commit}")), "{}", path.display());
    let reference = world.root.path().join("hub/models--someone--model/refs/main");
    assert_eq!(fs::read_to_string(reference).unwrap(), commit);
    #[cfg(unix)]
    assert!(fs::read_link(path.join("unet/config.json")).unwrap().starts_with("../../../blobs"));
    assert!(world.server.requests().len() > 4);
    world.model().unwrap();
    // One request checks for a newer commit; nothing else is requested.
    assert_eq!(world.server.requests(), ["GET /api/models/someone/model/revision/main?blobs=true"]);
    // A file of another size is not complete, even if another program truncated it.
    fs::write(path.join("unet/diffusion_pytorch_model.safetensors"), "cut").unwrap();
    check_model(&world.model().unwrap());
    world.server.requests();
    // A new commit shares unchanged files with the old one.
    let mut files = model_files();
    files[2].1 = b"{\"a\": 2}".to_vec();
    world.add(MODEL, &files, Value::Null);
    assert_ne!(world.model().unwrap(), path);
    assert_eq!(world.server.requests().iter().filter(|request| request.contains("/resolve/")).count(), 1);
}

#[test]
fn hashes_of_responses_are_used_if_the_list_has_none() {
    let world = World::new();
    world.server.inject(Some(Fault::NamesOnly));
    check_model(&world.model().unwrap());
}

#[test]
fn the_cache_is_used_if_the_network_is_not_available() {
    let world = World::new();
    let path = world.model().unwrap();
    // The Hub is busy, refuses, sends an invalid response, and finally cannot be reached.
    let refusing =
        [Fault::Status(503, 99), Fault::Private, Fault::ListingFails(403, &[], ""), Fault::ListingFails(404, &[], "")];
    let no_hub = [Fault::ListingFails(200, &[], "<html>"), Fault::ListingFails(200, &[], "[]")];
    for trouble in refusing.into_iter().chain(no_hub) {
        world.server.inject(Some(trouble));
        assert_eq!(world.model().unwrap(), path, "{trouble:?}");
    }
    // A missing revision is not taken from the cache.
    world.server.inject(None);
    let error = Hub::new(world.config()).model(&id("someone/model@v9"), &()).unwrap_err();
    assert!(matches!(error, HubError::NoRevision { .. }), "{error}");
    let World { server, root } = world;
    let (config, id) = (World::config(&World { server, root: tempfile::tempdir().unwrap() }), id("someone/model"));
    let config = HubConfig { cache: root.path().join("hub"), ..config };
    assert_eq!(Hub::new(config.clone()).model(&id, &()).unwrap(), path);
    // If a file is missing, the error says that the Hub cannot be reached.
    fs::remove_file(path.join("unet/diffusion_pytorch_model.safetensors")).unwrap();
    let error = Hub::new(config.clone()).model(&id, &()).unwrap_err();
    assert!(error.to_string().contains("127.0.0.1 cannot be reached (connection refused)"), "{error}");
    assert!(
        error.to_string().ends_with("the cache lacks someone/model, file unet/diffusion_pytorch_model.safetensors")
    );
    let error = Hub::new(HubConfig { offline: true, ..config }).model(&id, &()).unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE") && error.contains("diffusion_pytorch_model.safetensors"), "{error}");
}

#[test]
fn offline_mode_sends_no_request() {
    let world = World::new();
    let offline = Hub::new(HubConfig { offline: true, ..world.config() });
    let error = offline.model(&id("someone/model"), &()).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    assert!(error.to_string().contains("someone/model is not in the cache"), "{error}");
    assert!(world.server.requests().is_empty());
    let path = world.model().unwrap();
    world.server.requests();
    assert_eq!(offline.model(&id("someone/model"), &()).unwrap(), path);
    assert_eq!(offline.model(&id(&format!("someone/model@{}", world.server.commit(MODEL))), &()).unwrap(), path);
    // The same holds if a part of the files is missing.
    let weights = path.join("unet/diffusion_pytorch_model.safetensors");
    fs::rename(&weights, world.root.path().join("aside")).unwrap();
    fs::rename(path.join("model_index.json"), world.root.path().join("index")).unwrap();
    let error = offline.model(&id("someone/model"), &()).unwrap_err().to_string();
    assert!(error.contains("model_index.json and 1 more") || error.contains("safetensors and 1 more"), "{error}");
    fs::rename(world.root.path().join("aside"), weights).unwrap();
    fs::rename(world.root.path().join("index"), path.join("model_index.json")).unwrap();
    // Files of another program, without the list of this crate, are used as well.
    fs::remove_dir_all(world.root.path().join("hub/models--someone--model/ddpm-listings")).unwrap();
    assert_eq!(offline.model(&id("someone/model"), &()).unwrap(), path);
    assert!(world.server.requests().is_empty());
}

#[test]
fn each_refusal_has_its_own_message() {
    let world = World::new();
    let assert_message = |hub: &Hub, name: &str, words: &[&str]| {
        let error = hub.model(&id(name), &()).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)) && !error.contains('\n'), "{error}");
        assert!(!error.contains("hf_"), "{error}");
    };
    let anonymous = Hub::new(world.config());
    assert_message(&anonymous, "someone/else", &["someone/else", "no such model (404)"]);
    assert_message(&anonymous, "someone/model@v9", &["someone/model", "no revision v9"]);
    world.server.inject(Some(Fault::Private));
    assert_message(&anonymous, "someone/model", &["someone/model", "(401)", "set HF_TOKEN"]);
    assert_message(&world.with_token("hf_wrong"), "someone/model", &["refuses the token (401)"]);
    check_model(&world.with_token(TOKEN).model(&id("someone/model"), &()).unwrap());
    world.server.inject(Some(Fault::Gated));
    fs::remove_dir_all(world.root.path().join("hub")).unwrap();
    assert_message(&anonymous, "someone/model", &["is gated"]);
    // The list may be visible although the files are not. No file remains.
    assert_message(&world.with_token(TOKEN), "someone/model", &["file", "is gated"]);
    assert_eq!(world.blobs(), Vec::<PathBuf>::new());
    world.server.inject(Some(Fault::ListingFails(403, &[], "{\"error\": \"ask your admin\"}")));
    assert_message(&anonymous, "someone/model", &["forbids it (403): ask your admin"]);
    let disabled = &[("X-Error-Message", "Access to this resource is disabled.")];
    world.server.inject(Some(Fault::ListingFails(403, disabled, "")));
    assert_message(&anonymous, "someone/model", &["has disabled the repository for everyone (403)"]);
    world.server.inject(Some(Fault::Status(418, 1)));
    assert_message(&anonymous, "someone/model", &["answers 418: in trouble"]);
    world.server.inject(Some(Fault::ListingFails(200, &[("Content-Type", "text/html; charset=utf-8")], "Log in")));
    assert_message(&anonymous, "someone/model", &["expected JSON from 127.0.0.1", "HF_ENDPOINT"]);
    world.server.inject(Some(Fault::ListingFails(429, &[("Retry-After", "4000")], "")));
    assert_message(&anonymous, "someone/model", &["the Hub is busy (429), asked once: try again in 4000 s"]);
    for status in [429, 500, 503] {
        world.server.inject(Some(Fault::Status(status, 99)));
        assert_message(&anonymous, "someone/model", &["the Hub is busy", &status.to_string()]);
    }
    let nowhere = HubConfig { endpoint: Endpoint::new("http://hub.invalid").unwrap(), ..world.config() };
    assert_message(&Hub::new(nowhere), "someone/model", &["hub.invalid cannot be reached"]);
    world.server.inject(None);
    world.add(MODEL, &[("README.md", b"x".to_vec())], Value::Null);
    assert_message(&anonymous, "someone/model", &["no model in a supported format", "README.md"]);
}

#[test]
fn requests_to_a_busy_hub_are_retried() {
    let world = World::new();
    world.server.inject(Some(Fault::Status(503, 2)));
    check_model(&world.model().unwrap());
    // The requested delay is respected.
    let limits: [&'static [(&str, &str)]; 2] =
        [&[("Retry-After", "1")], &[("RateLimit", "\"api\";r=9;t=3000, \"resolvers\";r=0;t=1")]];
    for headers in limits {
        world.server.inject(Some(Fault::Answer(429, headers, "", 1)));
        let start = Instant::now();
        world.model().unwrap();
        assert!(start.elapsed() >= Duration::from_secs(1), "{headers:?}");
    }
}

#[test]
fn a_truncated_list_is_requested_in_pages() {
    for cut in [0, 1000] {
        let world = World::new();
        let names: Vec<String> = (0..1200).map(|i| format!("a/{i}.txt")).collect();
        let mut files: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (name.as_str(), b"x".to_vec())).collect();
        files.extend(model_files());
        world.add(MODEL, &files, Value::Null);
        world.server.inject(Some(Fault::TruncatedList(cut)));
        check_model(&world.model().unwrap());
        let pages = world.server.requests().iter().filter(|request| request.contains("/tree/")).count();
        assert_eq!(pages, 3);
    }
}

#[cfg(unix)]
#[test]
fn a_read_only_cache_is_used() {
    let world = World::new();
    let path = world.model().unwrap();
    // Root may write anywhere, so a file takes the place of the directory to make writing fail.
    let listings = world.root.path().join("hub/models--someone--model/ddpm-listings");
    fs::remove_dir_all(&listings).unwrap();
    fs::write(&listings, "").unwrap();
    assert_eq!(world.model().unwrap(), path);
}

#[test]
fn the_token_is_only_sent_to_the_endpoint() {
    let world = World::new();
    world.server.inject(Some(Fault::Private));
    world.with_token(TOKEN).model(&id("someone/model"), &()).unwrap();
    let requests = world.server.requests();
    let elsewhere: Vec<_> = requests.iter().filter(|request| request.starts_with("elsewhere")).collect();
    assert!(!elsewhere.is_empty() && elsewhere.iter().all(|request| !request.contains("with token")), "{requests:?}");
    assert!(requests.iter().filter(|request| !request.starts_with("elsewhere")).all(|r| r.ends_with("with token")));
}

#[test]
fn files_that_differ_from_the_list_are_removed() {
    let world = World::new();
    // One wrong download may be an accident.
    world.server.inject(Some(Fault::WrongBytes(1)));
    check_model(&world.model().unwrap());
    let world = World::new();
    world.server.inject(Some(Fault::ExtraByte));
    let error = world.model().unwrap_err().to_string();
    assert!(error.contains("bytes, found more") && !error.contains("broke off"), "{error}");
    assert_eq!(world.blobs(), Vec::<PathBuf>::new());
    world.server.inject(Some(Fault::WrongBytes(u32::MAX)));
    let error = world.model().unwrap_err();
    assert!(matches!(error, HubError::WrongHash { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("someone/model, file ") && text.contains("expected ") && text.contains("found "), "{text}");
    assert_eq!(world.blobs(), Vec::<PathBuf>::new());
    world.server.inject(None);
    check_model(&world.model().unwrap());
}

#[test]
fn an_interrupted_download_continues() {
    let world = World::new();
    world.server.inject(Some(Fault::BrokenConnections(3)));
    check_model(&world.model().unwrap());
    // A download that always breaks off does not create a file with a final name.
    let world = World::new();
    world.server.inject(Some(Fault::BrokenConnections(u32::MAX)));
    let error = world.model().unwrap_err();
    assert!(matches!(error, HubError::WrongSize { .. }), "{error}");
    let blobs = world.blobs();
    assert!(blobs.iter().all(|blob| blob.extension().is_some_and(|e| e == "incomplete")), "{blobs:?}");
    assert!(!world.root.path().join("hub/models--someone--model/refs/main").exists());
    // Leftover bytes of another file are detected.
    let large = blobs.iter().find(|blob| blob.file_name().unwrap().len() > 64).cloned();
    fs::write(large.unwrap_or_else(|| blobs[0].clone()), "nonsense").unwrap();
    world.server.inject(None);
    check_model(&world.model().unwrap());
}

#[test]
fn no_file_name_leaves_the_cache() {
    for name in ["../../../evil", "unet/../../evil", "/tmp/evil", "a\\..\\evil"] {
        let world = World::new();
        let mut files = model_files();
        files.push((name, b"evil".to_vec()));
        world.add(MODEL, &files, Value::Null);
        let error = world.model().unwrap_err();
        assert!(matches!(error, HubError::UnsafeName { .. }), "{name}: {error}");
        assert!(!world.root.path().join("hub").exists());
    }
    // A name in an index of shards is refused as well.
    let world = World::new();
    let index = json!({ "weight_map": { "a": "../../config.json" } }).to_string().into_bytes();
    let files = [("config.json", b"{}".to_vec()), ("diffusion_pytorch_model.safetensors.index.json", index)];
    world.add(MODEL, &files, Value::Null);
    assert!(matches!(world.model().unwrap_err(), HubError::UnsafeName { .. }));
}

#[test]
fn shards_are_downloaded_with_their_index() {
    let world = World::new();
    let index = json!({ "weight_map": { "a": "m-1.safetensors", "b": "m-2.safetensors" } }).to_string().into_bytes();
    let mut files = vec![
        ("config.json", b"{}".to_vec()),
        ("diffusion_pytorch_model.safetensors.index.json", index),
        ("m-1.safetensors", weights()),
    ];
    world.add(MODEL, &files, Value::Null);
    let error = world.model().unwrap_err().to_string();
    assert!(error.contains("no file m-2.safetensors"), "{error}");
    files.push(("m-2.safetensors", b"second".to_vec()));
    world.add(MODEL, &files, Value::Null);
    let path = world.model().unwrap();
    assert_eq!(fs::read(path.join("m-1.safetensors")).unwrap(), weights());
    assert_eq!(fs::read(path.join("m-2.safetensors")).unwrap(), b"second");
}

#[test]
fn concurrent_downloads_do_not_interfere() {
    let world = World::new();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| check_model(&world.model().unwrap()));
        }
    });
    assert!(world.blobs().iter().all(|blob| blob.extension().is_none()));
    let large = world.server.requests().into_iter().filter(|request| request.starts_with("elsewhere")).count();
    assert_eq!(large, 1, "the others wait for the first");
}

#[test]
fn a_split_of_a_dataset_is_downloaded_at_its_commit() {
    let world = World::new();
    let card = json!({
        "configs": [{ "config_name": "default", "data_files": [{ "split": "train", "path": "data/train-*" }] }],
        "dataset_info": { "features": [{ "name": "img", "dtype": "image" }] },
    });
    let files = [
        ("data/train-0 of 2.parquet", weights()),
        ("data/train-1#2.parquet", b"two".to_vec()),
        ("data/test-0.parquet", b"no".to_vec()),
    ];
    world.add("datasets/someone/set", &files, card);
    let hub = Hub::new(world.config());
    let found = hub.dataset(&id("someone/set"), &DatasetSelection::default(), &()).unwrap();
    let read: Vec<_> = found.paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!((read, found.column.as_deref()), (vec![weights(), b"two".to_vec()], Some("img")));
    assert_eq!(found.commit, world.server.commit("datasets/someone/set"));
    let offline = Hub::new(HubConfig { offline: true, ..world.config() });
    assert_eq!(offline.dataset(&id("someone/set"), &DatasetSelection::default(), &()).unwrap(), found);
    assert_eq!(offline.dataset_commit(&id("someone/set")).unwrap(), found.commit);
    // An incomplete model is not a model, although each existing file is complete.
    fs::remove_file(&found.paths[1]).unwrap();
    assert!(matches!(
        offline.dataset(&id("someone/set"), &DatasetSelection::default(), &()),
        Err(HubError::Offline { .. })
    ));
}

#[test]
fn a_dataset_downloaded_by_commit_is_found_by_branch_offline() {
    let world = World::new();
    world.add("datasets/someone/set", &[("a.zip", b"images".to_vec())], Value::Null);
    let hub = Hub::new(world.config());
    let commit = hub.dataset_commit(&id("someone/set")).unwrap();
    let reference = world.root.path().join("hub/datasets--someone--set/refs/main");
    assert!(!reference.exists(), "its files are not there yet");
    let found = hub.dataset(&id(&format!("someone/set@{commit}")), &DatasetSelection::default(), &()).unwrap();
    assert_eq!(fs::read_to_string(reference).unwrap(), commit);
    let offline = Hub::new(HubConfig { offline: true, ..world.config() });
    assert_eq!(offline.dataset_commit(&id("someone/set")).unwrap(), commit);
    assert_eq!(offline.dataset(&id("someone/set"), &DatasetSelection::default(), &()).unwrap(), found);
}

/// A cache of another program, without the list of this crate.
fn filled_by_another(world: &World, files: &[(&str, Vec<u8>)]) -> Hub {
    world.add("datasets/someone/set", files, Value::Null);
    let repository = world.root.path().join("hub/datasets--someone--set");
    let commit = world.server.commit("datasets/someone/set");
    for (name, bytes) in files {
        let path = repository.join("snapshots").join(&commit).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), commit).unwrap();
    Hub::new(HubConfig { offline: true, ..world.config() })
}

#[test]
fn metadata_in_the_cache_of_another_program_are_used() {
    let readme = |head: &str| ("README.md", format!("---\n{head}\n---\n").into_bytes());
    let names = ["x/1.zip", "y/2.zip"].map(|name| (name, name.as_bytes().to_vec()));
    let with = |readme: (&'static str, Vec<u8>)| [&[readme], &names[..]].concat();
    let wanted = DatasetSelection::default();
    let world = World::new();
    let head =
        "configs:\n- config_name: c\n  data_files: y/*\ndataset_info:\n  features:\n  - name: img\n    dtype: image";
    let found = filled_by_another(&world, &with(readme(head))).dataset(&id("someone/set"), &wanted, &()).unwrap();
    assert_eq!((found.paths.len(), found.column.as_deref()), (1, Some("img")));
    assert!(found.paths[0].ends_with("y/2.zip"));
    // Invalid metadata differ from missing metadata.
    let world = World::new();
    let error = filled_by_another(&world, &with(readme("configs: *c"))).dataset(&id("someone/set"), &wanted, &());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("README.md: the metadata are not understood, line 1 column 10"), "{error}");
    // A part of a numbered series is refused.
    let world = World::new();
    let shards = ["data/train-00000-of-00003.parquet", "data/train-00002-of-00003.parquet"];
    let hub = filled_by_another(&world, &shards.map(|name| (name, b"x".to_vec())));
    let error = hub.dataset(&id("someone/set"), &wanted, &()).unwrap_err().to_string();
    assert!(error.contains("data/train-00001-of-00003.parquet is not in the cache"), "{error}");
    let error = hub.dataset(&id("someone/set"), &DatasetSelection { split: Some("test".into()), ..wanted }, &());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("in its split test") && error.contains("is not in the cache"), "{error}");
}

#[test]
fn a_folder_is_uploaded_as_one_commit() {
    let world = World::new();
    let folder = world.root.path().join("pipeline");
    let big: Vec<u8> = weights().repeat(15);
    fs::create_dir_all(folder.join("unet")).unwrap();
    for (name, bytes) in
        [("README.md", &b"card"[..]), (".hidden", b"no"), ("unet/w.safetensors", &weights()), ("unet/big", &big)]
    {
        fs::write(folder.join(name), bytes).unwrap();
    }
    let push = |hub: &Hub| hub.upload(&id("someone/new"), &folder, "After 2 steps", Visibility::Private, &());
    let error = push(&Hub::new(world.config())).unwrap_err().to_string();
    assert!(error.contains("set HF_TOKEN"), "{error}");
    assert!(world.server.requests().is_empty());
    world.server.inject(Some(Fault::Private));
    assert!(matches!(push(&world.with_token("hf_wrong")).unwrap_err(), HubError::TokenRefused { .. }));
    world.server.inject(Some(Fault::Private));
    for _ in 0..2 {
        assert_eq!(push(&world.with_token(TOKEN)).unwrap(), format!("{}/someone/new", world.server.url()));
    }
    let requests = world.server.requests();
    assert_eq!(requests.iter().filter(|request| request.contains("/api/repos/create")).count(), 1, "{requests:?}");
    assert!(requests.iter().all(|r| r.starts_with("elsewhere") != r.contains("with token")), "{requests:?}");
    let created = world.server.created();
    assert!(created.len() == 1 && created[0]["private"] == true, "{created:?}");
    let commits = world.server.commits();
    assert_eq!(commits.len(), 2);
    let [header, rest @ ..] = &commits[0][..] else { panic!("no lines") };
    assert_eq!(header["value"]["summary"], "After 2 steps");
    let of = |path: &str| rest.iter().find(|line| line["value"]["path"] == path).unwrap_or_else(|| panic!("{path}"));
    assert_eq!(of("README.md")["value"]["content"], "Y2FyZA==");
    assert_eq!(rest.len(), 3);
    for (path, bytes) in [("unet/w.safetensors", weights()), ("unet/big", big)] {
        let line = of(path);
        assert_eq!((line["key"].as_str(), line["value"]["size"].as_u64()), (Some("lfsFile"), Some(bytes.len() as u64)));
        let uploaded = &world.server.uploads()[line["value"]["oid"].as_str().unwrap()];
        // The file was sent twice.
        assert!(*uploaded == bytes.repeat(2), "{path}");
    }
}

#[test]
fn the_upload_permission_is_checked_beforehand() {
    let world = World::new();
    let check = |token: &str, name: &str| world.with_token(token).check_upload(&id(name)).map_err(|e| e.to_string());
    check(TOKEN, "someone/new").unwrap();
    check(TOKEN, "some-people/new").unwrap();
    check(TOKEN, "someone/model@main").unwrap();
    let error = check(TOKEN, "else/new").unwrap_err();
    assert!(error.contains("is of someone, who is not of else") && !error.contains("hf_"), "{error}");
    world.server.rename("before/model", "someone/model");
    check(TOKEN, "before/model").unwrap();
    for name in ["someone/model@dev", "someone/new@dev", &format!("someone/model@{}", world.server.commit(MODEL))] {
        let error = check(TOKEN, name).unwrap_err();
        assert!(error.contains(name) && error.contains("a branch that exists"), "{error}");
    }
    world.server.inject(Some(Fault::ReadOnly));
    assert!(check(TOKEN, "someone/new").unwrap_err().contains("may read only"));
    world.server.inject(Some(Fault::Private));
    assert!(check("hf_wrong", "someone/new").unwrap_err().contains("refuses the token (401)"));
    // A check that cannot be made now may succeed when the upload starts.
    world.server.inject(Some(Fault::Status(503, 99)));
    check(TOKEN, "someone/new").unwrap();
}

#[test]
fn redirected_uploads_lose_nothing() {
    let world = World::new();
    let folder = world.root.path().join("pipeline");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("w.safetensors"), weights()).unwrap();
    let push = || world.with_token(TOKEN).upload(&id("someone/old"), &folder, "x", Visibility::Public, &());
    // A renamed model.
    world.server.rename("someone/old", "someone/model");
    push().unwrap();
    assert_eq!(world.server.commits().len(), 1);
    world.server.inject(Some(Fault::RedirectedUploads(307)));
    push().unwrap();
    assert!(world.server.uploads().into_values().any(|bytes| bytes == weights().repeat(2)));
    // A redirect that would turn the upload into a GET request.
    world.server.inject(Some(Fault::RedirectedUploads(303)));
    let error = push().unwrap_err().to_string();
    assert!(error.contains("expected 307 or 308 to redirect a PUT, found 303"), "{error}");
    assert_eq!(world.server.commits().len(), 2);
}
