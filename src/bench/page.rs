//! The pages of `bench` and `plan`: one file each, that names nothing outside of itself, light or dark as the reader's
//! system is.

use std::fmt::Write;

use super::plot::escape;

/// Colours and shapes.
const STYLE: &str = include_str!("page.css");

/// What the first line of a page says of the result, and its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// It holds.
    Good,
    /// It does not.
    Bad,
    /// Nobody knows.
    Unclear,
}

/// A page that is being put together.
#[derive(Debug)]
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// Begin one: what it is about, the verdict in a word, and in a sentence.
    pub fn new(title: &str, subtitle: &str, tone: Tone, word: &str, sentence: &str) -> Page {
        let class = match tone {
            Tone::Good => "good",
            Tone::Bad => "bad",
            Tone::Unclear => "unclear",
        };
        let mut body = String::new();
        write!(
            body,
            "<header><div><h1>{}</h1><p>{}</p></div><span class=\"badge {class}\">{}</span></header>",
            escape(title),
            escape(subtitle),
            escape(word)
        )
        .expect("a string takes all");
        if !sentence.is_empty() {
            write!(body, "<p class=\"sentence {class}\">{}</p>", escape(sentence)).expect("a string takes all");
        }
        Page { title: title.to_owned(), body }
    }

    /// Something that nobody must miss.
    pub fn warning(&mut self, text: &str) {
        write!(self.body, "<p class=\"warning\">{}</p>", escape(text)).expect("a string takes all");
    }

    /// The most important numbers: name, value, what stands below.
    pub fn cards(&mut self, cards: &[(&str, String, String)]) {
        self.body.push_str("<div class=\"cards\">");
        for (name, value, below) in cards {
            write!(
                self.body,
                "<div><small>{}</small><b>{}</b><small>{}</small></div>",
                escape(name),
                escape(value),
                escape(below)
            )
            .expect("a string takes all");
        }
        self.body.push_str("</div>");
    }

    /// Something that is HTML already: a figure.
    pub fn html(&mut self, html: &str) {
        self.body.push_str(html);
    }

    /// A heading.
    pub fn heading(&mut self, text: &str) {
        write!(self.body, "<h2>{}</h2>", escape(text)).expect("a string takes all");
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        write!(self.body, "<p>{}</p>", escape(text)).expect("a string takes all");
    }

    /// A command line to copy.
    pub fn command(&mut self, text: &str) {
        write!(self.body, "<pre><code>{}</code></pre>", escape(text)).expect("a string takes all");
    }

    /// A table with a line of headings. The first column is text, the others are numbers.
    pub fn table(&mut self, headings: &[&str], rows: &[Vec<String>]) {
        self.body.push_str("<div class=\"wide\"><table><thead><tr>");
        headings.iter().for_each(|text| write!(self.body, "<th>{}</th>", escape(text)).expect("a string takes all"));
        self.body.push_str("</tr></thead><tbody>");
        for row in rows {
            self.body.push_str("<tr>");
            row.iter().for_each(|text| write!(self.body, "<td>{}</td>", escape(text)).expect("a string takes all"));
            self.body.push_str("</tr>");
        }
        self.body.push_str("</tbody></table></div>");
    }

    /// Facts: name and text.
    pub fn facts(&mut self, facts: &[(impl AsRef<str>, String)]) {
        self.body.push_str("<dl>");
        for (name, text) in facts {
            write!(self.body, "<dt>{}</dt><dd>{}</dd>", escape(name.as_ref()), escape(text))
                .expect("a string takes all");
        }
        self.body.push_str("</dl>");
    }

    /// The whole file.
    pub fn finish(self) -> String {
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\"><title>{}</title>\
             <style>\n{STYLE}</style></head><body><main>{}</main></body></html>\n",
            escape(&self.title),
            self.body
        )
    }
}
