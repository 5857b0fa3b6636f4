//! What is printed: medians, ratios, and whether the floors hold.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::cell::{Cell, Measure};

/// All cells with what was measured.
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
}

/// A cell, with one measure for each round.
pub(crate) struct Row {
    pub(crate) cell: Cell,
    pub(crate) measured: Vec<Measure>,
}

/// What must hold between two cells: by their keys, the least ratio of their rates, and the one that is aimed at.
struct Floor {
    of: &'static str,
    to: &'static str,
    least: f64,
    goal: f64,
}

impl Table {
    /// Cells whose key begins with one of `only`; all where that is empty.
    pub(crate) fn new(cells: Vec<Cell>, only: &[String]) -> Self {
        let wanted =
            |cell: &Cell| only.is_empty() || only.iter().any(|it| cell.key.starts_with(it));
        let rows = cells.into_iter().filter(wanted);
        Self { rows: rows.map(|cell| Row { cell, measured: Vec::new() }).collect() }
    }

    fn row(&self, key: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.cell.key == key)
    }

    /// The median over the rounds of the ratio of two rates in one round.
    fn ratio(&self, of: &str, to: &str) -> Option<f64> {
        let (of, to) = (self.row(of)?, self.row(to)?);
        let pairs = of.measured.iter().zip(&to.measured);
        median(pairs.map(|(of, to)| of.rate / to.rate))
    }

    fn floors(&self) -> impl Iterator<Item = (&Floor, f64)> {
        FLOORS.iter().filter_map(|floor| Some((floor, self.ratio(floor.of, floor.to)?)))
    }

    pub(crate) fn to_markdown(&self, conditions: &str) -> String {
        let mut text = format!(
            "{conditions}\n\n\
             | | thousand req/s | ÷ raw quinn | p50 / p99 µs | server CPU µs per request |\n\
             |---|---|---|---|---|\n"
        );
        for row in &self.rows {
            let ratio = self.ratio(row.cell.key, BASE);
            let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
            // Writing to a string does not fail.
            let _written = writeln!(
                text,
                "| {} | {:.1} | {ratio} | {:.0} / {:.0} | {:.1} |",
                row.cell.name,
                row.median(|it| it.rate) / 1000.0,
                row.median(|it| it.p50),
                row.median(|it| it.p99),
                row.median(|it| it.cpu),
            );
        }
        text += "\n| floor | least | measured | | goal |\n|---|---|---|---|---|\n";
        for (Floor { of, to, least, goal }, measured) in self.floors() {
            let verdict = if measured >= *least { "holds" } else { "**missed**" };
            let _written = writeln!(
                text,
                "| {of} ÷ {to} | {least:.1} | {measured:.2} | {verdict} | {goal:.1} |"
            );
        }
        text
    }

    pub(crate) fn to_json(&self) -> Value {
        let cells = self.rows.iter().map(|row| {
            let value = json!({
                "name": row.cell.name,
                "in_flight": row.cell.in_flight,
                "requests_per_second": row.median(|it| it.rate),
                "ratio_to_quinn": self.ratio(row.cell.key, BASE),
                "p50_us": row.median(|it| it.p50),
                "p99_us": row.median(|it| it.p99),
                "server_cpu_us": row.median(|it| it.cpu),
                "rates": row.measured.iter().map(|it| it.rate).collect::<Vec<_>>(),
            });
            (row.cell.key.to_owned(), value)
        });
        let floors = self.floors().map(|(floor, measured)| {
            json!({
                "of": floor.of, "to": floor.to, "least": floor.least, "goal": floor.goal,
                "measured": measured, "holds": measured >= floor.least,
            })
        });
        json!({
            "cells": cells.collect::<serde_json::Map<_, _>>(),
            "floors": floors.collect::<Vec<_>>(),
        })
    }
}

impl Row {
    fn median(&self, of: impl Fn(&Measure) -> f64) -> f64 {
        median(self.measured.iter().map(of)).unwrap_or(f64::NAN)
    }
}

/// The middle one, or the mean of the middle two.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(f64::midpoint(values[low], values[high]))
}

/// The cell that the others are divided by.
const BASE: &str = "quinn";
/// What the node must reach, over NATS with a plain service and with a layered one.
const FLOORS: [Floor; 8] = [
    Floor { of: "async", to: "quinn", least: 1.0, goal: 1.3 },
    Floor { of: "async", to: "h3", least: 4.0, goal: 5.0 },
    Floor { of: "async", to: "tonic", least: 4.0, goal: 6.0 },
    Floor { of: "plain", to: "gateway", least: 3.0, goal: 5.0 },
    Floor { of: "plain", to: "gateway-open", least: 1.5, goal: 2.5 },
    Floor { of: "layered", to: "gateway", least: 3.0, goal: 5.0 },
    Floor { of: "layered", to: "gateway-open", least: 1.5, goal: 2.5 },
    Floor { of: "wal-256", to: "async-256", least: 0.8, goal: 0.8 },
];
