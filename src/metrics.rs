//! `/metrics` for Prometheus, `/health` and `/ready` for whoever starts and stops servers: HTTP on a thread of its own.
//!
//! The shards are asked through the mesh ([`Observer`]), one after the other, one histogram at a time, and only when
//! somebody scrapes: at most once in [`PAGE_AGE_MAX`], whatever the number of scrapers. In between all get the same page.
//!
//! The thread keeps off the shards' cores where there are others.
//!
//! Invariant: nothing here is on a request's way, and what scrapers take is bounded: [`SCRAPER_COUNT_MAX`] are served at
//! once, each for [`SERVE_LIMIT`] at most, with one request of [`SCRAPE_REQUEST_BYTES_MAX`].

mod columns;
mod page;
mod text;

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::nice;
use rustix::thread::{sched_getaffinity, sched_setaffinity};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::{AbortHandle, LocalSet, spawn_local};
use tracing::{info, warn};

use crate::limits::{SCRAPE_REQUEST_BYTES_MAX, SCRAPER_COUNT_MAX};
use crate::mesh::Observer;
use crate::server::Shared;
use crate::startup::StartError;

/// How old a page may be. Whoever scrapes less often gets a new one each time.
pub const PAGE_AGE_MAX: Duration = Duration::from_millis(500);

/// How long a scraper has to send its request and take its page.
pub const SERVE_LIMIT: Duration = Duration::from_secs(5);

/// How long all shards have to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// How long accepting rests when the system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How much more often a shard has its turn on a core that it shares with the scrapers: ten times, as sched(7) has it.
const NICENESS: i32 = 10;

/// What the classic text format is called (https://prometheus.io/docs/instrumenting/exposition_formats/).
const PAGE_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const PLAIN_TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

const INDEX: &str = "Tallyring\n\n/metrics  for Prometheus\n/health   whether the shards answer\n/ready    whether they serve clients\n";

/// What scrapers are told, and those who are told.
struct Scrapes {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

struct State {
    observer: Observer,
    pages: page::Pages,
    /// The last page or what was in its way, and when that was.
    last: Option<(Instant, Result<Bytes, String>)>,
}

/// Start the thread that serves scrapers, if there are to be any.
///
/// # Errors
/// The machine has no thread left.
pub fn start(shared: &Arc<Shared>, observer: Observer, listeners: Vec<TcpListener>) -> Result<(), StartError> {
    if listeners.is_empty() {
        return Ok(());
    }
    let failed = |error| StartError::Other {
        doing: "start the thread of the metrics",
        error,
        remedy: "Raise the limit of processes (ulimit -u), or leave --metrics-port out",
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    for address in listeners.iter().filter_map(|listener| listener.local_addr().ok()) {
        info!("metrics: http://{address}/metrics");
    }
    let shared = shared.clone();
    let serve = move || {
        step_aside(&shared.config.pin);
        let state = State { observer, pages: page::Pages::new(&shared), last: None };
        let scrapes = Rc::new(Scrapes { shared, state: Mutex::new(state) });
        let places = Arc::new(Semaphore::new(SCRAPER_COUNT_MAX));
        let local = LocalSet::new();
        for listener in listeners {
            local.spawn_local(accept(scrapes.clone(), places.clone(), listener));
        }
        runtime.block_on(local);
    };
    std::thread::Builder::new().name("metrics".to_owned()).spawn(serve).map_err(failed)?;
    Ok(())
}

/// Leave the shards their cores: this thread keeps to the others where there are some, and where there are none it comes
/// after the shards. It serves without either too, where a sandbox refuses them.
fn step_aside(pinned: &[Option<usize>]) {
    let _ = nice(NICENESS);
    if let Ok(mut cores) = sched_getaffinity(None) {
        pinned.iter().flatten().for_each(|core| cores.unset(*core));
        if cores.count() > 0 {
            let _ = sched_setaffinity(None, &cores);
        }
    }
}

/// A scraper that is being served.
struct Served {
    task: AbortHandle,
    /// Its request has come.
    has_asked: Rc<Cell<bool>>,
}

/// Accept scrapers for as long as the server runs, as many at once as there are places. When there is none left, who has
/// had one longest without a request gives it up: nobody keeps the others out by being slow.
async fn accept(scrapes: Rc<Scrapes>, places: Arc<Semaphore>, listener: TcpListener) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("it is bound, and does not block");
    let mut served: VecDeque<Served> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                served.retain(|scraper| !scraper.task.is_finished());
                if places.available_permits() == 0
                    && let Some(slow) = served.iter().find(|scraper| !scraper.has_asked.get())
                {
                    slow.task.abort();
                }
                let place = places.clone().acquire_owned().await.expect("nobody closes it");
                let has_asked = Rc::new(Cell::new(false));
                let (scrapes, asks) = (scrapes.clone(), has_asked.clone());
                let task = spawn_local(async move {
                    // Who is cut short, or sends no HTTP, has nobody else to tell.
                    let _ = tokio::time::timeout(SERVE_LIMIT, serve(scrapes, asks, stream)).await;
                    drop(place);
                });
                served.push_back(Served { task: task.abort_handle(), has_asked });
                // What has come with it is read before it may have to go for the next one.
                tokio::task::yield_now().await;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
            Err(error) => {
                warn!("cannot accept a scraper: {error}; raise the limit of descriptors (ulimit -n)");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answer the one request of a connection.
async fn serve(scrapes: Rc<Scrapes>, has_asked: Rc<Cell<bool>>, stream: tokio::net::TcpStream) -> hyper::Result<()> {
    let answer = |request: Request<Incoming>| {
        has_asked.set(true);
        let scrapes = scrapes.clone();
        async move { Ok::<_, Infallible>(scrapes.answer(request.method(), request.uri().path()).await) }
    };
    http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(SCRAPE_REQUEST_BYTES_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(SERVE_LIMIT)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await
}

impl Scrapes {
    async fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/metrics" => match self.page().await {
                Ok(page) => response(StatusCode::OK, PAGE_TYPE, page),
                Err(problem) => plain(StatusCode::SERVICE_UNAVAILABLE, problem),
            },
            "/health" => match self.page().await {
                Ok(_) => plain(StatusCode::OK, "ok\n"),
                Err(problem) => plain(StatusCode::SERVICE_UNAVAILABLE, problem),
            },
            "/ready" if self.shared.is_ready() => plain(StatusCode::OK, "ready\n"),
            "/ready" => plain(StatusCode::SERVICE_UNAVAILABLE, "the server is starting or stopping\n"),
            "/" => plain(StatusCode::OK, INDEX),
            _ => plain(StatusCode::NOT_FOUND, INDEX),
        }
    }

    /// The page, of now or of a moment ago; or what is in its way.
    async fn page(&self) -> Result<Bytes, String> {
        let state = &mut *self.state.lock().await;
        if let Some((made, page)) = &state.last
            && made.elapsed() < PAGE_AGE_MAX
        {
            return page.clone();
        }
        let page = match tokio::time::timeout(ANSWER_LIMIT, state.pages.make(&mut state.observer, &self.shared)).await {
            Ok(page) => Ok(Bytes::from(page)),
            Err(_) => Err(format!(
                "shard {} has not answered within {} s: it is starting, overloaded, or stopped (a debugger, DEBUG SLEEP)\n",
                state.pages.asked_shard(),
                ANSWER_LIMIT.as_secs()
            )),
        };
        state.last = Some((Instant::now(), page.clone()));
        page
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    response(status, PLAIN_TYPE, text)
}

fn response(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
