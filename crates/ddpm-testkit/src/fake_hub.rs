//! A fake Hugging Face Hub in this process. It implements the part of the HTTP interface that the workspace uses, on a
//! port of this machine, and can misbehave in several ways.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The only token that the fake Hub accepts.
pub const TOKEN: &str = "hf_right";
/// The smallest size in bytes of a large file. Large files are on a second port, as those of the Hub are on another
/// host.
const LARGE: usize = 1000;
/// The number of files on a page of the paginated list.
const PAGE: usize = 500;

/// A fake Hub that listens until it is dropped. Files of 1,000 bytes or more are redirected to a second port.
#[derive(Debug)]
pub struct FakeHub {
    addresses: [SocketAddr; 2],
    state: Arc<Mutex<State>>,
}

/// A way to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answers this number of requests with this status.
    Status(u16, u32),
    /// Answers requests with this status, these headers and this body. The last field is the number of requests.
    Answer(u16, &'static [(&'static str, &'static str)], &'static str, u32),
    /// Answers every request for the list of a repository with this status, these headers and this body.
    ListingFails(u16, &'static [(&'static str, &'static str)], &'static str),
    /// Sends other bytes than listed, of the same length, for this number of requests.
    WrongBytes(u32),
    /// Sends one byte more than listed.
    ExtraByte,
    /// Truncates the list of a repository after this number of files.
    TruncatedList(usize),
    /// Redirects every upload to the second port once more, with this status.
    RedirectedUploads(u16),
    /// The token has read permission only.
    ReadOnly,
    /// Closes the connection in the middle of a file, for this number of requests.
    BrokenConnections(u32),
    /// Lists neither sizes nor hashes.
    NamesOnly,
    /// Requires [`TOKEN`].
    Private,
    /// Requires that the conditions of the repository are accepted.
    Gated,
}

#[derive(Debug, Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    /// Former names, `OWNER/NAME`, each with the new name.
    renamed: Vec<(String, String)>,
    faults: Vec<Fault>,
    requests: Vec<String>,
    commits: Vec<Vec<Value>>,
    uploads: BTreeMap<String, Vec<u8>>,
    created: Vec<Value>,
    stopped: bool,
}

#[derive(Debug)]
struct Repository {
    commit: String,
    files: Vec<(String, Vec<u8>)>,
    card: Value,
}

impl Repository {
    /// Whether the revision is one of the branches `main` and `refs/convert/parquet`, or the commit of the repository.
    fn has_revision(&self, revision: &str) -> bool {
        ["main", "refs/convert/parquet", self.commit.as_str()].contains(&revision)
    }
}

impl FakeHub {
    /// Starts a Hub without repositories.
    ///
    /// # Panics
    /// If no port is available.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let addresses = listeners.each_ref().map(|listener| listener.local_addr().expect("it is bound"));
        for (i, listener) in listeners.into_iter().enumerate() {
            let state = Arc::clone(&state);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = Arc::clone(&state);
                    if lock(&state).stopped {
                        break;
                    }
                    // A client that disconnects early is not an error of the server.
                    std::thread::spawn(move || drop(answer(stream, i == 1, addresses, &state)));
                }
            });
        }
        Self { addresses, state }
    }

    /// The value for `HF_ENDPOINT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addresses[0])
    }

    /// Adds or replaces a repository, `models/OWNER/NAME` or `datasets/OWNER/NAME`. Its commit is a function of its
    /// files.
    pub fn add(&self, repository: &str, files: &[(&str, &[u8])], card: Value) {
        let mut hash = Sha1::new();
        files.iter().for_each(|(path, bytes)| hash.update([path.as_bytes(), bytes].concat()));
        let files = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
        let made = Repository { commit: hex(&hash.finalize()), files, card };
        lock(&self.state).repositories.insert(repository.to_owned(), made);
    }

    /// Redirects from a former name, `OWNER/NAME`, to a new one.
    pub fn rename(&self, from: &str, to: &str) {
        lock(&self.state).renamed.push((from.to_owned(), to.to_owned()));
    }

    /// The commit of a repository.
    ///
    /// # Panics
    /// If the repository does not exist.
    pub fn commit(&self, repository: &str) -> String {
        lock(&self.state).repositories[repository].commit.clone()
    }

    /// Misbehaves in this way, and in no other, from now on. `None` ends all misbehavior.
    pub fn inject(&self, fault: Option<Fault>) {
        lock(&self.state).faults = fault.into_iter().collect();
    }

    /// The requests since the last call, as `METHOD /path`. Requests to the second port start with `elsewhere `; those
    /// with a token end with ` with token`.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state).requests)
    }

    /// The lines of each commit that was uploaded.
    pub fn commits(&self) -> Vec<Vec<Value>> {
        lock(&self.state).commits.clone()
    }

    /// The requests that created a repository.
    pub fn created(&self) -> Vec<Value> {
        lock(&self.state).created.clone()
    }

    /// The large files that were uploaded, by their SHA-256.
    pub fn uploads(&self) -> BTreeMap<String, Vec<u8>> {
        lock(&self.state).uploads.clone()
    }
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        lock(&self.state).stopped = true;
        // The connections wake the listeners, which then close their ports.
        self.addresses.iter().for_each(|address| drop(TcpStream::connect(address)));
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The hash of `git hash-object`.
fn git_hash(bytes: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", bytes.len()));
    hash.update(bytes);
    hex(&hash.finalize())
}

/// A parsed request.
struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

fn read(stream: &TcpStream) -> std::io::Result<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Request { method, path, headers, body })
}

type Headers = Vec<(&'static str, String)>;

fn owned(headers: &[(&'static str, &'static str)]) -> Headers {
    headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn answer(mut stream: TcpStream, elsewhere: bool, at: [SocketAddr; 2], state: &Mutex<State>) -> std::io::Result<()> {
    let request = read(&stream)?;
    let token = request.headers.get("authorization").cloned();
    let mut state = lock(state);
    let place = if elsewhere { "elsewhere " } else { "" };
    let with = if token.is_some() { " with token" } else { "" };
    state.requests.push(format!("{place}{} {}{with}", request.method, request.path));
    let mut closes_early = false;
    let (mut wrong_bytes, mut extra_byte) = (false, false);
    for fault in &mut state.faults {
        match fault {
            Fault::Status(status, times) if *times > 0 => {
                *times -= 1;
                let status = *status;
                return respond(&mut stream, status, vec![], b"{\"error\": \"in trouble\"}", false);
            }
            Fault::Gated if token.is_none() || request.path.contains("/resolve/") => {
                return respond(&mut stream, 403, vec![("X-Error-Code", "GatedRepo".into())], b"", false);
            }
            Fault::Private if !elsewhere && token.as_deref() != Some("Bearer hf_right") => {
                return respond(&mut stream, 401, vec![], b"{\"error\": \"Repository not found\"}", false);
            }
            Fault::BrokenConnections(times) if *times > 0 => closes_early = true,
            Fault::Answer(status, headers, body, times) if *times > 0 => {
                *times -= 1;
                return respond(&mut stream, *status, owned(headers), body.as_bytes(), false);
            }
            Fault::ListingFails(status, headers, body) if request.path.contains("/revision/") => {
                return respond(&mut stream, *status, owned(headers), body.as_bytes(), false);
            }
            Fault::RedirectedUploads(status) if request.method == "PUT" && !request.path.contains("/new") => {
                let location = vec![("Location", format!("{}/new", request.path))];
                return respond(&mut stream, *status, location, b"", false);
            }
            Fault::WrongBytes(times) if *times > 0 => wrong_bytes = true,
            Fault::ExtraByte => extra_byte = true,
            _ => {}
        }
    }
    let (status, mut headers, mut body) = route(&request, elsewhere, at, &mut state);
    let is_file = status == 200 && request.method == "GET" && headers.iter().any(|(name, _)| *name == "Accept-Ranges");
    closes_early &= is_file && body.len() > 1;
    if closes_early && let Some(Fault::BrokenConnections(times)) = state.faults.first_mut() {
        *times -= 1;
    }
    if is_file
        && wrong_bytes
        && let Some(Fault::WrongBytes(times)) = state.faults.first_mut()
    {
        *times -= 1;
        body.iter_mut().for_each(|byte| *byte ^= 1);
    }
    drop(state);
    if is_file && extra_byte {
        body.push(0);
    }
    let from =
        request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok());
    match from.filter(|_| is_file) {
        Some(from) if from < body.len() => {
            headers.push(("Content-Range", format!("bytes {from}-{}/{}", body.len() - 1, body.len())));
            respond(&mut stream, 206, headers, &body[from..], closes_early)
        }
        Some(from) if from > 0 => respond(&mut stream, 416, headers, b"", false),
        _ => respond(&mut stream, status, headers, &body, closes_early),
    }
}

fn respond(stream: &mut TcpStream, status: u16, headers: Headers, body: &[u8], half: bool) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    stream.write_all((head + "\r\n").as_bytes())?;
    stream.write_all(&body[..if half { body.len() / 2 } else { body.len() }])?;
    stream.flush()
}

fn route(request: &Request, elsewhere: bool, at: [SocketAddr; 2], state: &mut State) -> (u16, Headers, Vec<u8>) {
    let not_found = |code: &str| (404, vec![("X-Error-Code", code.to_owned())], b"{}".to_vec());
    let json =
        |value: Value| (200, vec![("Content-Type", "application/json".to_owned())], value.to_string().into_bytes());
    let path = &decoded(request.path.split('?').next().unwrap_or_default());
    if elsewhere {
        let Some(hash) = path.strip_prefix("/large/").and_then(|rest| rest.split('/').next()) else {
            return not_found("");
        };
        if request.method == "PUT" {
            let hash = hash.to_owned();
            state.uploads.entry(hash).or_default().extend(&request.body);
            return (200, vec![("ETag", format!("\"{}\"", sha256(&request.body)))], vec![]);
        }
        let mut files = state.repositories.values().flat_map(|repository| &repository.files);
        return match files.find(|(_, bytes)| sha256(bytes) == hash) {
            // The ETag of another storage is not a hash.
            Some((_, bytes)) => (200, vec![("Accept-Ranges", "bytes".into()), ("ETag", "\"x\"".into())], bytes.clone()),
            None => not_found(""),
        };
    }
    if let Some((old, new)) = state.renamed.iter().find(|(old, _)| path.contains(old.as_str())) {
        return (307, vec![("Location", request.path.replacen(old, new, 1))], vec![]);
    }
    if path == "/api/whoami-v2" {
        let role = if state.faults.contains(&Fault::ReadOnly) { "read" } else { "write" };
        let access = json!({ "accessToken": { "role": role } });
        return json(json!({ "name": "someone", "orgs": [{ "name": "some-people" }], "auth": access }));
    }
    if request.method == "POST" {
        return post(request, path, at, state).map_or_else(|| not_found(""), json);
    }
    if let Some(rest) = path.strip_prefix("/api/") {
        let (name, revision) =
            rest.split_once("/revision/").or_else(|| rest.split_once("/tree/")).unwrap_or((rest, "main"));
        let Some(repository) = state.repositories.get(name) else { return not_found("RepoNotFound") };
        if !repository.has_revision(revision) {
            return not_found("RevisionNotFound");
        }
        if rest.contains("/tree/") {
            return tree(repository, request, at);
        }
        let most = state.faults.iter().find_map(|fault| match fault {
            Fault::TruncatedList(most) => Some(*most),
            _ => None,
        });
        let names_only = state.faults.contains(&Fault::NamesOnly);
        let files = repository.files.iter().take(most.unwrap_or(usize::MAX)).map(|(path, bytes)| {
            match (names_only, bytes.len() >= LARGE) {
                (true, _) => json!({ "rfilename": path }),
                (_, true) => json!({
                    "rfilename": path, "size": bytes.len(), "blobId": git_hash(b"a pointer"),
                    "lfs": { "sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 9 },
                }),
                _ => json!({ "rfilename": path, "size": bytes.len(), "blobId": git_hash(bytes) }),
            }
        });
        let files: Vec<Value> = files.collect();
        let id = name.split_once('/').map_or("", |(_, id)| id);
        return json(json!({ "id": id, "sha": repository.commit, "siblings": files, "cardData": repository.card }));
    }
    let Some((name, file)) = path[1..].split_once("/resolve/") else { return not_found("") };
    let key = if name.starts_with("datasets/") { name.to_owned() } else { format!("models/{name}") };
    let Some(repository) = state.repositories.get(&key) else { return not_found("RepoNotFound") };
    let Some((revision, file)) = file.split_once('/') else { return not_found("EntryNotFound") };
    if !repository.has_revision(revision) {
        return not_found("RevisionNotFound");
    }
    let Some((_, bytes)) = repository.files.iter().find(|(path, _)| path == file) else {
        return not_found("EntryNotFound");
    };
    let mut headers = vec![("X-Repo-Commit", repository.commit.clone())];
    if bytes.len() < LARGE {
        headers.extend([("Accept-Ranges", "bytes".into()), ("ETag", format!("\"{}\"", git_hash(bytes)))]);
        return (200, headers, bytes.clone());
    }
    let hash = sha256(bytes);
    headers.extend([
        ("X-Linked-ETag", format!("\"{hash}\"")),
        ("X-Linked-Size", bytes.len().to_string()),
        ("Location", format!("http://{}/large/{hash}?signed", at[1])),
    ]);
    (302, headers, vec![])
}

/// A page of the paginated list, which contains directories as well.
fn tree(repository: &Repository, request: &Request, at: [SocketAddr; 2]) -> (u16, Headers, Vec<u8>) {
    let first = request.path.split_once("cursor=").and_then(|(_, from)| from.parse().ok()).unwrap_or(0);
    let files = repository.files.iter().map(|(path, bytes)| match bytes.len() >= LARGE {
        true => json!({
            "type": "file", "path": path, "size": bytes.len(), "oid": git_hash(b"a pointer"),
            "lfs": { "oid": sha256(bytes), "size": bytes.len(), "pointerSize": 9 },
        }),
        false => json!({ "type": "file", "path": path, "size": bytes.len(), "oid": git_hash(bytes) }),
    });
    let entries = [json!({ "type": "directory", "path": "data", "oid": "0", "size": 0 })].into_iter().chain(files);
    let page: Vec<Value> = entries.skip(first).take(PAGE).collect();
    let mut headers = vec![("Content-Type", "application/json".to_owned())];
    if page.len() == PAGE {
        let path = request.path.split('?').next().unwrap_or_default();
        let next = format!("<http://{}{path}?recursive=true&cursor={}>; rel=\"next\"", at[0], first + PAGE);
        headers.push(("Link", next));
    }
    (200, headers, Value::from(page).to_string().into_bytes())
}

/// Decodes the percent-encoding of a path.
fn decoded(path: &str) -> String {
    let mut parts = path.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let code = part.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok()).unwrap_or(b'?');
        text + &char::from(code).to_string() + part.get(2..).unwrap_or_default()
    })
}

/// The response to a POST request of an upload. `None` if the path is unknown.
fn post(request: &Request, path: &str, at: [SocketAddr; 2], state: &mut State) -> Option<Value> {
    let body = || serde_json::from_slice::<Value>(&request.body).ok();
    if path == "/api/repos/create" {
        let body = body()?;
        state.created.push(body.clone());
        let name = format!("models/{}/{}", body["organization"].as_str()?, body["name"].as_str()?);
        let empty = Repository { commit: "0".repeat(40), files: vec![], card: Value::Null };
        state.repositories.insert(name.clone(), empty);
        return Some(json!({ "url": name }));
    }
    if path.contains("/preupload/") {
        let files = body()?["files"].as_array()?.clone();
        let files = files.iter().map(|file| {
            let large = file["size"].as_u64().unwrap_or(0) >= LARGE as u64;
            json!({ "path": file["path"], "uploadMode": if large { "lfs" } else { "regular" }, "shouldIgnore": false })
        });
        return Some(json!({ "files": files.collect::<Vec<_>>() }));
    }
    if path.ends_with(".git/info/lfs/objects/batch") {
        let objects = body()?["objects"].as_array()?.clone();
        let objects = objects.iter().map(|object| {
            let (oid, size) = (object["oid"].as_str().unwrap_or_default(), object["size"].as_u64().unwrap_or(0));
            let href = format!("http://{}/large/{oid}", at[1]);
            // Larger files are uploaded in two parts.
            let upload = if size >= 100_000 {
                let part = size.div_ceil(2);
                let complete = format!("http://{}/complete", at[0]);
                json!({ "href": complete, "header": { "chunk_size": part.to_string(), "1": href, "2": href } })
            } else {
                json!({ "href": href, "header": {} })
            };
            let verify = json!({ "href": format!("http://{}/verify", at[0]) });
            json!({ "oid": oid, "size": size, "actions": { "upload": upload, "verify": verify } })
        });
        return Some(json!({ "transfer": "basic", "objects": objects.collect::<Vec<_>>() }));
    }
    if path.contains("/commit/") {
        let text = String::from_utf8(request.body.clone()).ok()?;
        state.commits.push(text.lines().map(serde_json::from_str).collect::<Result<_, _>>().ok()?);
        return Some(json!({ "commitOid": "1".repeat(40), "commitUrl": "x" }));
    }
    ["/verify", "/complete"].contains(&path).then(|| json!({}))
}
