//! Tests of the commands: requests are built from words, and what comes out is compared with what Redis answers.

mod cluster;
mod connection;
mod errors;
mod introspection;
mod options;
mod redis;
mod resp;
mod table;
mod tasks;

use super::{Call, Env, Keys, Mistake, Run, Span, Spans, Spec, Task, resolve};
use crate::client::Client;
use crate::counters::Op;

/// The time of all requests, in milliseconds.
pub const NOW_MS: i64 = 1_700_000_000_000;

/// A request, as the parser would hand it over.
pub struct Request {
    input: Vec<u8>,
    spans: Spans,
    resp3: bool,
}

impl Request {
    pub fn new<A: AsRef<[u8]>>(arguments: &[A]) -> Request {
        let (mut input, mut spans) = (Vec::new(), Spans::default());
        for argument in arguments {
            let argument = argument.as_ref();
            assert!(spans.push(Span { start: input.len() as u32, len: argument.len() as u32 }));
            input.extend_from_slice(argument);
        }
        Request { input, spans, resp3: false }
    }

    /// Separated by single spaces; two in a row make an empty argument.
    pub fn line(line: &str) -> Request {
        Request::new(&line.split(' ').collect::<Vec<_>>())
    }

    pub fn resp3(self) -> Request {
        Request { resp3: true, ..self }
    }

    pub fn call(&self) -> Call<'_> {
        Call { input: &self.input, spans: self.spans.as_slice(), now_ms: NOW_MS, resp3: self.resp3 }
    }

    pub fn resolve(&self) -> Result<&'static Spec, Mistake> {
        resolve(&self.call())
    }

    /// What it asks of a counter.
    pub fn op(&self) -> Result<Op, Mistake> {
        match self.resolve()?.run {
            Run::Key(parse) => parse(&self.call()),
            other => panic!("not one key's operation: {other:?}"),
        }
    }

    pub fn task(&self, env: &Env<'_>) -> Result<Task, Mistake> {
        match self.resolve()?.run {
            Run::Task(parse) => parse(env, &self.call()),
            other => panic!("not a task: {other:?}"),
        }
    }

    /// What the session itself answers.
    pub fn reply(&self, client: &mut Client, env: &Env<'_>) -> Result<Vec<u8>, Mistake> {
        let Run::Reply(answer) = self.resolve()?.run else { panic!("not answered by the session") };
        let mut out = Vec::new();
        match answer(client, env, &self.call(), &mut out) {
            Ok(()) => Ok(out),
            Err(mistake) => {
                assert!(out.is_empty(), "a mistake, and a reply beside it");
                Err(mistake)
            }
        }
    }
}

/// No password, no debugging.
pub const OPEN: Env<'static> = Env { password: None, debug: false, cluster: false };

/// The text of a mistake.
pub fn text(mistake: &Mistake) -> &str {
    match mistake {
        Mistake::Fault(fault) => fault.text(),
        Mistake::Text(text) => text,
    }
}

/// The text of the mistake that a request is.
pub fn mistake_of(line: &str) -> String {
    let request = Request::line(line);
    let result = request.resolve().map(|spec| spec.run).and_then(|run| match run {
        Run::Key(_) => request.op().map(|op| format!("{op:?}")),
        Run::Task(_) => request.task(&OPEN).map(|task| format!("{task:?}")),
        Run::Reply(_) => request.reply(&mut Client::default(), &OPEN).map(|out| format!("{out:?}")),
        other => Ok(format!("{other:?}")),
    });
    match result {
        Ok(done) => panic!("{line} was accepted: {done}"),
        Err(mistake) => text(&mistake).to_owned(),
    }
}
