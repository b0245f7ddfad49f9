//! Streams that are kept, one file each in `corpus/`: every one that has ever failed, and the mistakes that clients make.
//!
//! They are checked first, in every run. What the fuzzing finds is written there, as small as it could be made: commit it
//! with the remedy. Bytes are the characters U+0000 to U+00FF of JSON strings, so that a file can be read and written by
//! hand.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::drive::Setting;
use super::generate::{Kind, PASSWORD, Request, Stream};

/// A setting and a stream.
pub struct Case {
    pub path: PathBuf,
    pub setting: Setting,
    pub stream: Stream,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/session_fuzz/corpus")
}

/// All that are kept, in the order of their names.
///
/// # Panics
/// When a file is no case, naming it.
pub fn kept() -> Vec<Case> {
    let entries = fs::read_dir(directory()).expect("the corpus is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.sort();
    let case = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a file of text");
        let (setting, stream) = read(&text).unwrap_or_else(|| panic!("no case: {}", path.display()));
        Case { path, setting, stream }
    };
    paths.into_iter().map(case).collect()
}

/// Keep a stream, and say where.
pub fn keep(setting: &Setting, stream: &Stream, seed: u64) -> PathBuf {
    let path = directory().join(format!("found-{:?}-{seed}.json", stream.kind).to_lowercase());
    fs::write(&path, write(setting, stream)).expect("the corpus can be written");
    path
}

/// What a file holds; the inverse of [`read`].
pub fn write(setting: &Setting, stream: &Stream) -> String {
    let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
    let requests: Vec<Value> = stream
        .requests
        .iter()
        .map(|request| {
            let arguments: Vec<String> = request.arguments.iter().map(|argument| text(argument)).collect();
            json!({ "bytes": text(&request.bytes), "arguments": arguments, "inline": request.inline })
        })
        .collect();
    let kind = format!("{:?}", stream.kind).to_lowercase();
    let case = json!({
        "kind": kind,
        "password": setting.password.is_some(),
        "queue_room_bytes": setting.queue_room_bytes,
        "requests": requests,
    });
    serde_json::to_string_pretty(&case).expect("it is JSON") + "\n"
}

/// `None` where the text is no case. A request may be its arguments alone, and is an array then.
pub fn read(text: &str) -> Option<(Setting, Stream)> {
    let case: Value = serde_json::from_str(text).ok()?;
    let kind = match case["kind"].as_str()? {
        "known" => Kind::Known,
        "valid" => Kind::Valid,
        "wild" => Kind::Wild,
        _ => return None,
    };
    let setting = Setting {
        password: case["password"].as_bool()?.then_some(PASSWORD),
        queue_room_bytes: case["queue_room_bytes"].as_u64()?.try_into().ok()?,
    };
    let requests = case["requests"].as_array()?.iter().map(read_request).collect::<Option<_>>()?;
    Some((setting, Stream { kind, requests }))
}

fn read_request(request: &Value) -> Option<Request> {
    let bytes = |text: &Value| text.as_str()?.chars().map(|byte| u8::try_from(u32::from(byte)).ok()).collect();
    let list = |list: &Value| list.as_array()?.iter().map(bytes).collect::<Option<Vec<Vec<u8>>>>();
    if request.is_array() {
        return Some(Request::multibulk(list(request)?));
    }
    let inline = request["inline"].as_bool().unwrap_or(false);
    Some(Request {
        bytes: bytes(&request["bytes"])?,
        arguments: list(&request["arguments"]).unwrap_or_default(),
        inline,
    })
}
