//! `tallyring top`: what a running server does, once a second, in a terminal; or once, as plain text.
//!
//! It asks as any client does, with `INFO` and, where clients have stalled and there are few, `CLIENT LIST`. One thread
//! asks, another draws: a server that does not answer never holds up a key press.
//!
//! Invariant: however it ends, the terminal is as it was before.

mod draw;
mod sample;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};
use ratatui::{DefaultTerminal, Frame};

use crate::process;
use crate::query::{Client, Failure, stopped};
use crate::startup::StartError;
use draw::{HEIGHT_MIN, WIDTH_MIN};
use sample::{SECTIONS, Sample, View};

/// How often keys are looked for, and the screen is drawn anew.
const FRAME: Duration = Duration::from_millis(100);

/// Lines that `--once` prints at most: more than there are shards and commands.
const ONCE_LINE_COUNT_MAX: usize = 1_000;

/// Stalled clients that are shown, and how many clients there may be for them to be looked for.
const STALLED_COUNT_MAX: usize = 3;
const LISTED_CLIENT_COUNT_MAX: u64 = 2_000;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Top {
    /// `HOST:PORT`.
    pub server: String,
    /// What `AUTH` is given.
    pub password: Option<String>,
    /// Time between two samples.
    pub interval: Duration,
    /// Print one view and end.
    pub once: bool,
}

/// What is known of the server.
#[derive(Clone, Debug)]
enum News {
    /// The first sample was taken: there is nothing to compare it with yet.
    Connected,
    /// A view, and lines about clients that have stalled.
    View(Box<View>, Vec<String>),
    /// The server cannot be reached; it is tried again.
    Gone(String),
    /// Another try would not help.
    Refused(String),
}

/// Show a server until the user quits; or once.
///
/// # Errors
/// The server refuses (a password is missing), or is not Tallyring; with `once` also when it cannot be reached. Or there
/// is no terminal to draw on.
pub fn run(top: &Top) -> Result<(), StartError> {
    if top.once { print_once(top) } else { show(top) }
}

fn print_once(top: &Top) -> Result<(), StartError> {
    let mut asking = Asking::new(top);
    loop {
        match asking.news() {
            News::Connected => std::thread::sleep(top.interval),
            News::View(view, stalled) => {
                let lines = draw::lines(&view, &top.server, &stalled, ONCE_LINE_COUNT_MAX);
                let text: String = lines.iter().map(|line| format!("{}\n", line.to_string().trim_end())).collect();
                // Who reads no further has seen enough.
                let _ = io::stdout().write_all(text.as_bytes());
                return Ok(());
            }
            News::Gone(problem) | News::Refused(problem) => return Err(stopped("top", &top.server, &problem)),
        }
    }
}

fn show(top: &Top) -> Result<(), StartError> {
    let failed = |error| StartError::Other {
        doing: "draw on the terminal",
        error,
        remedy: "Run it in a terminal, or use --once",
    };
    if !io::stdout().is_terminal() {
        return Err(failed(io::Error::other("standard output is no terminal")));
    }
    let (sender, receiver) = sync_channel(1);
    let asking = Asking::new(top);
    let interval = top.interval;
    std::thread::spawn(move || ask_again_and_again(asking, interval, &sender));
    let ended = end_with_signals().map_err(failed)?;
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let shown = draw_until_quit(&mut terminal, top, &receiver, &ended);
    ratatui::restore();
    match shown.map_err(failed)? {
        None => Ok(()),
        Some(problem) => Err(stopped("top", &top.server, &problem)),
    }
}

/// Set once somebody wants the process to end: the terminal comes first.
fn end_with_signals() -> io::Result<Arc<AtomicBool>> {
    let ended = Arc::new(AtomicBool::new(false));
    let setting = ended.clone();
    process::when_told_to_end(move || setting.store(true, Ordering::Relaxed))?;
    Ok(ended)
}

/// Draw until the user quits: `None`; or until the server refuses, with what it said.
fn draw_until_quit(
    terminal: &mut DefaultTerminal,
    top: &Top,
    receiver: &Receiver<News>,
    ended: &AtomicBool,
) -> io::Result<Option<String>> {
    let mut screen = Screen::default();
    while !ended.load(Ordering::Relaxed) {
        match receiver.try_recv() {
            Ok(News::Refused(problem)) => return Ok(Some(problem)),
            Ok(news) => screen.take(news),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(None),
        }
        terminal.draw(|frame| screen.draw(frame, top))?;
        if event::poll(FRAME)? && quits(&event::read()?) {
            break;
        }
    }
    Ok(None)
}

fn quits(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (control_c || matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc))
}

/// What is drawn: the last view, and what is the matter with the server since.
#[derive(Default)]
struct Screen {
    last: Option<(Box<View>, Vec<String>)>,
    gone: Option<String>,
}

impl Screen {
    fn take(&mut self, news: News) {
        match news {
            News::View(view, stalled) => (self.last, self.gone) = (Some((view, stalled)), None),
            News::Connected => self.gone = None,
            News::Gone(problem) | News::Refused(problem) => self.gone = Some(problem),
        }
    }

    fn draw(&self, frame: &mut Frame<'_>, top: &Top) {
        let area = frame.area();
        if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
            let text = format!(
                "This terminal has {} x {} characters, top needs {WIDTH_MIN} x {HEIGHT_MIN}: enlarge it, or use --once. q quits.",
                area.width, area.height
            );
            return frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        }
        let height = usize::from(area.height) - 1;
        let mut lines = match &self.last {
            Some((view, stalled)) => draw::lines(view, &top.server, stalled, height),
            None if self.gone.is_none() => vec![Line::raw(format!("asking {} ...", top.server))],
            None => Vec::new(),
        };
        let foot = match &self.gone {
            None => Line::raw(format!("q quits; every {} s", top.interval.as_secs_f64())),
            Some(problem) if lines.is_empty() => {
                Line::raw(format!("cannot reach {}: {problem}; trying again", top.server))
            }
            Some(problem) => Line::raw(format!("gone: {problem}; trying again (above is how it was)")),
        };
        lines.resize(height, Line::default());
        lines.push(if self.gone.is_some() { foot.style(ratatui::style::Color::Red) } else { foot });
        frame.render_widget(Paragraph::new(lines), area);
    }
}

/// The side that asks.
struct Asking {
    server: String,
    password: Option<String>,
    client: Option<Client>,
    last: Option<Sample>,
}

fn ask_again_and_again(mut asking: Asking, interval: Duration, sender: &SyncSender<News>) {
    while sender.send(asking.news()).is_ok() {
        std::thread::sleep(interval);
    }
}

impl Asking {
    fn new(top: &Top) -> Asking {
        Asking { server: top.server.clone(), password: top.password.clone(), client: None, last: None }
    }

    /// Take a sample, over a new connection if there is none.
    fn news(&mut self) -> News {
        match self.ask() {
            Ok(news) => news,
            Err(failure) => {
                (self.client, self.last) = (None, None);
                match failure {
                    Failure::Gone(problem) => News::Gone(problem),
                    Failure::Refused(problem) => News::Refused(problem),
                }
            }
        }
    }

    fn ask(&mut self) -> Result<News, Failure> {
        if self.client.is_none() {
            self.client = Some(Client::connect(&self.server, self.password.as_deref(), "tallyring-top")?);
        }
        let client = self.client.as_mut().expect("just connected");
        let text = client.ask(&SECTIONS)?;
        let refused =
            || Failure::Refused("INFO does not name shards: this is not Tallyring, or an older one".to_owned());
        let sample = Sample::parse(&text, Instant::now()).ok_or_else(refused)?;
        let news = match &self.last {
            None => News::Connected,
            Some(last) => {
                let view = View::between(last, &sample);
                let few = view.client_count <= LISTED_CLIENT_COUNT_MAX;
                let stalled =
                    if view.stalled_count > 0 && few { stalled(&client.ask(&["CLIENT", "LIST"])?) } else { Vec::new() };
                News::View(Box::new(view), stalled)
            }
        };
        self.last = Some(sample);
        Ok(news)
    }
}

/// Of the lines of `CLIENT LIST`: a line for each of the clients that have stalled longest.
fn stalled(list: &str) -> Vec<String> {
    let mut clients: Vec<(u64, String)> = list
        .lines()
        .filter_map(|line| {
            let field = |name: &str| line.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            let number = |name: &str| field(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
            let (input_bytes, output_bytes, idle_s) = (number("qbuf"), number("omem"), number("idle"));
            let address = field("addr").filter(|_| input_bytes + output_bytes > 0)?;
            let line =
                format!("stalled: {address}, idle {idle_s} s, {input_bytes} bytes unfinished, {output_bytes} unread",);
            Some((idle_s, line))
        })
        .collect();
    clients.sort_by_key(|(idle_s, _)| std::cmp::Reverse(*idle_s));
    clients.into_iter().take(STALLED_COUNT_MAX).map(|(_, line)| line).collect()
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyEvent;

    use super::*;

    fn top() -> Top {
        Top { server: "127.0.0.1:6379".to_owned(), password: None, interval: Duration::from_secs(1), once: false }
    }

    fn drawn(screen: &Screen, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame, &top())).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let cells: Vec<&str> = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
        cells.chunks(usize::from(width)).map(|row| row.concat().trim_end().to_owned()).collect()
    }

    fn news() -> News {
        let (before, now) = sample::tests::samples();
        News::View(Box::new(View::between(&before, &now)), vec!["stalled: someone".to_owned()])
    }

    #[test]
    fn the_screen_goes_from_asking_to_a_view_and_says_when_the_server_is_gone() {
        let mut screen = Screen::default();
        assert_eq!(drawn(&screen, 80, 24)[0], "asking 127.0.0.1:6379 ...");
        screen.take(News::Gone("Connection refused".to_owned()));
        let rows = drawn(&screen, 80, 24);
        assert_eq!(rows[0], "");
        assert_eq!(rows[23], "cannot reach 127.0.0.1:6379: Connection refused; trying again");
        screen.take(news());
        let rows = drawn(&screen, 80, 24);
        assert!(rows[0].starts_with("tallyring 0.1.0 at 127.0.0.1:6379"), "{rows:#?}");
        assert!(rows.iter().any(|row| row == "stalled: someone"), "{rows:#?}");
        assert_eq!(rows[23], "q quits; every 1 s");
        screen.take(News::Gone("it has closed the connection".to_owned()));
        let rows = drawn(&screen, 120, 24);
        assert!(rows[0].starts_with("tallyring 0.1.0"), "what was known stays");
        assert!(rows[23].ends_with("the connection; trying again (above is how it was)"), "{rows:#?}");
    }

    #[test]
    fn a_terminal_that_is_too_small_is_said() {
        let mut screen = Screen::default();
        screen.take(news());
        for (width, height) in [(79, 24), (80, 23), (20, 10), (1, 1)] {
            let text = drawn(&screen, width, height).join(" ");
            assert!(width < 20 || text.contains(&format!("has {width} x {height}")), "{text}");
        }
    }

    #[test]
    fn some_keys_quit() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        assert!(quits(&key(KeyCode::Char('q'), KeyModifiers::NONE)));
        assert!(quits(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(quits(&key(KeyCode::Esc, KeyModifiers::NONE)));
        assert!(!quits(&key(KeyCode::Char('c'), KeyModifiers::NONE)));
        assert!(!quits(&Event::Resize(80, 24)));
    }

    #[test]
    fn those_who_have_stalled_longest_are_named() {
        let list = "id=1 addr=127.0.0.1:1 idle=5 qbuf=0 omem=0\nid=2 addr=127.0.0.1:2 idle=7 qbuf=9 omem=0\n\
                    id=3 addr=127.0.0.1:3 idle=70 qbuf=0 omem=100\n";
        let lines = stalled(list);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], "stalled: 127.0.0.1:3, idle 70 s, 0 bytes unfinished, 100 unread");
    }
}
