// SPDX-License-Identifier: GPL-2.0
//! The bars of what a frame costs Dom0.

use super::Row;
use super::Way;
use super::copy_of;
use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::drawing::IntoDrawingArea;
use plotters::element::Rectangle;
use plotters::element::Text;
use plotters::style::BLACK;
use plotters::style::Color;
use plotters::style::IntoFont;
use plotters::style::RGBColor;
use plotters::style::TextStyle;
use plotters::style::WHITE;
use plotters::style::text_anchor::HPos;
use plotters::style::text_anchor::Pos;
use plotters::style::text_anchor::VPos;
use std::path::Path;

/// Of the picture, and of its parts from the top: the title, and below it the key.
const SIZE: (u32, u32) = (960, 440);
const TITLE: u32 = 30;
const KEY: u32 = 30;

fn colour(way: Way) -> RGBColor {
    match way {
        Way::Copy => RGBColor(0x8d, 0x99, 0xae),
        Way::FrontAllocated => RGBColor(0x2a, 0x9d, 0x8f),
        Way::BackendAllocated => RGBColor(0xe7, 0x6f, 0x51),
    }
}

fn text(size: u32, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    ("sans-serif", size)
        .into_font()
        .color(&BLACK)
        .pos(Pos::new(horizontal, vertical))
}

/// Draw a panel for each size, with a group of bars for each display, into an SVG file.
///
/// # Errors
///
/// When it cannot be drawn or written.
pub fn draw(rows: &[Row], file: &Path) -> Result<()> {
    let name = file.to_str().context("a path that is no text")?.to_owned();
    plot(rows, &name).map_err(|error| anyhow!("the chart cannot be drawn: {error}"))
}

fn plot(rows: &[Row], file: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut sizes: Vec<&str> = rows.iter().map(|row| row.size).collect();
    sizes.dedup();
    let whole = SVGBackend::new(file, SIZE).into_drawing_area();
    whole.fill(&WHITE)?;
    let (head, body) = whole.split_vertically(TITLE + KEY);
    let (title, key) = head.split_vertically(TITLE);
    let middle = i32::try_from(SIZE.0 / 2)?;
    title.draw(&Text::new(
        "CPU time of Dom0 for a frame, in ms, and what is left of the copy's",
        (middle, 8),
        text(18, HPos::Center, VPos::Top),
    ))?;
    for (at, way) in (1..).zip(Way::ALL) {
        let left = middle / 2 * at - 60;
        key.draw(&Rectangle::new(
            [(left, 5), (left + 14, 19)],
            colour(way).filled(),
        ))?;
        let name = Text::new(way.name(), (left + 20, 5), text(14, HPos::Left, VPos::Top));
        key.draw(&name)?;
    }
    let panels = body.split_evenly((1, sizes.len().max(1)));
    for (panel, size) in panels.iter().zip(sizes) {
        let shown = || rows.iter().filter(move |row| row.size == size);
        let mut sinks: Vec<&str> = shown().map(|row| row.sink).collect();
        sinks.dedup();
        let most = shown().map(|row| row.dom0).fold(1.0, f64::max);
        let groups = f64::from(u32::try_from(sinks.len())?);
        let mut chart = ChartBuilder::on(panel)
            .caption(size, text(16, HPos::Center, VPos::Top))
            .margin(10)
            .x_label_area_size(24)
            .y_label_area_size(50)
            .build_cartesian_2d(0.0..groups, 0.0..most * 1.15)?;
        chart.configure_mesh().disable_x_mesh().x_labels(0).draw()?;
        for (group, sink) in (0u32..).map(f64::from).zip(&sinks) {
            let (x, y) = chart.backend_coord(&(group + 0.5, 0.0));
            let below = text(14, HPos::Center, VPos::Top);
            whole.draw(&Text::new((*sink).to_owned(), (x, y + 6), below))?;
            let bars: Vec<&Row> = shown().filter(|row| row.sink == *sink).collect();
            let width = 0.8 / f64::from(u32::try_from(bars.len())?);
            for (at, row) in (0u32..).map(f64::from).zip(bars) {
                let left = group + 0.1 + width * at;
                let right = left + width * 0.9;
                let top = row.dom0.max(0.0);
                chart.draw_series([Rectangle::new(
                    [(left, 0.0), (right, top)],
                    colour(row.way).filled(),
                )])?;
                let figure = match copy_of(rows, row) {
                    Some(copy) if row.way != Way::Copy => {
                        format!("{top:.0} (1/{:.1})", row.factor(copy))
                    }
                    _ => format!("{top:.0}"),
                };
                chart.draw_series([Text::new(
                    figure,
                    (f64::midpoint(left, right), top),
                    text(12, HPos::Center, VPos::Bottom),
                )])?;
            }
        }
    }
    whole.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_a_bar_with_its_figures() {
        let row = |size, way, dom0| Row {
            size,
            sink: "vkms",
            way,
            frames: 100,
            rate: 4.0,
            dom0,
            backend: 0.0,
            guest: 0.0,
            resolution: 1.0,
        };
        let rows = [
            row("8x6", Way::Copy, 90.0),
            row("8x6", Way::BackendAllocated, 9.0),
            row("16x12", Way::Copy, 300.0),
            row("16x12", Way::FrontAllocated, 0.5),
        ];
        let file = std::env::temp_dir().join(format!("chart-{}.svg", std::process::id()));
        draw(&rows, &file).unwrap();
        let svg = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        for text in ["8x6", "16x12", "vkms", "9 (1/10.0)", "0 (1/300.0)"] {
            assert!(svg.contains(text), "{text} is not in the chart");
        }
    }
}
