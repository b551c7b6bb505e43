//! How many exchanges were told right, by API and host, and what is wrong with the others.

use std::collections::BTreeMap;

use super::{Exchange, Family};

/// One line.
#[derive(Default)]
pub struct Row {
    pub seen: usize,
    pub recognised: usize,
    pub complete: usize,
    pub equal: usize,
    pub differing: Vec<String>,
}

/// All of them.
#[derive(Default)]
pub struct Table(BTreeMap<(String, String), Row>);

impl Table {
    /// The line of an exchange, which counts as seen.
    pub fn row(&mut self, exchange: &Exchange, family: Option<&Family>) -> &mut Row {
        let name = family.map_or("(none: HTTP)", |family| family.name);
        let key = (name.to_owned(), exchange.host.clone());
        let row = self.0.entry(key).or_default();
        row.seen += 1;
        row
    }

    /// Prints it, and what differs.
    pub fn print(&self) {
        eprintln!(
            "{:24} {:44} {:>5} {:>10} {:>8} {:>5} {:>9}",
            "API", "host", "seen", "recognised", "complete", "equal", "differing"
        );
        let mut total = [0; 5];
        for ((family, host), row) in &self.0 {
            let counts = [
                row.seen,
                row.recognised,
                row.complete,
                row.equal,
                row.differing.len(),
            ];
            print(family, host, counts);
            for (total, count) in total.iter_mut().zip(counts) {
                *total += count;
            }
        }
        print("all", "", total);
        for ((family, _), row) in &self.0 {
            for what in &row.differing {
                eprintln!("{family}: {what}");
            }
        }
    }

    /// How many differ.
    pub fn differing(&self) -> usize {
        self.0.values().map(|row| row.differing.len()).sum()
    }
}

fn print(family: &str, host: &str, counts: [usize; 5]) {
    let [seen, recognised, complete, equal, differing] = counts;
    eprintln!(
        "{family:24} {host:44} {seen:>5} {recognised:>10} {complete:>8} {equal:>5} {differing:>9}"
    );
}

impl Row {
    /// Takes what differs of an exchange that was recognised.
    pub fn judge(&mut self, exchange: &Exchange, is_complete: bool, wrong: &[String]) {
        self.recognised += 1;
        self.complete += usize::from(is_complete);
        if wrong.is_empty() {
            self.equal += 1;
        } else {
            self.wrong(exchange, &wrong.join("; "));
        }
    }

    /// Something is wrong with an exchange.
    pub fn wrong(&mut self, exchange: &Exchange, what: &str) {
        let (id, from) = (&exchange.id, &exchange.from);
        self.differing.push(format!("{id} ({from}): {what}"));
    }
}
