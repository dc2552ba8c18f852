//! Pictures of what a codec does to a signal, as SVG.

use std::error::Error;

use plotters::prelude::*;

use crate::fidelity::StreamFidelity;
use crate::pipeline::Excerpt;
use crate::signal::StreamInfo;

/// Why a picture cannot be drawn.
pub(super) type PlotError = Box<dyn Error + Send + Sync>;

const ORIGINAL: RGBColor = RGBColor(31, 119, 180);
const DECODED: RGBColor = RGBColor(214, 69, 30);
const ERROR: RGBColor = RGBColor(90, 90, 90);

/// Original and decoded over each other, and the error below on the same scale.
pub(super) fn overlay(info: &StreamInfo, excerpt: &Excerpt) -> Result<String, PlotError> {
    let channel = info.channels.first().ok_or("the stream has no channel")?;
    let physical = |sample: f64| (sample - channel.baseline) / channel.gain;
    let seconds = |index: usize| (excerpt.first_sample + index as u64) as f64 / info.sample_rate_hz;
    let points = |samples: &[f64]| -> Vec<(f64, f64)> {
        samples.iter().enumerate().map(|(index, sample)| (seconds(index), physical(*sample))).collect()
    };
    let original = points(&excerpt.original);
    let decoded = points(&excerpt.decoded);
    let error: Vec<(f64, f64)> = original.iter().zip(&decoded).map(|((t, x), (_, y))| (*t, x - y)).collect();
    let (low, high) = range(original.iter().chain(&decoded).map(|point| point.1));
    let (error_low, error_high) = range(error.iter().map(|point| point.1));
    let times = seconds(0)..seconds(excerpt.original.len().max(1));

    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (960, 400)).into_drawing_area();
        root.fill(&WHITE)?;
        let (signal_area, error_area) = root.split_vertically(270);
        let unit = if channel.unit.is_empty() { "counts" } else { &channel.unit };
        let mut signal = ChartBuilder::on(&signal_area)
            .margin(8)
            .x_label_area_size(8)
            .y_label_area_size(56)
            .caption(format!("{} at {} Hz", info.key, info.sample_rate_hz), ("sans-serif", 16))
            // Room at the top, where the names stand.
            .build_cartesian_2d(times.clone(), low..high + 0.25 * (high - low))?;
        signal
            .configure_mesh()
            .x_labels(0)
            .y_desc(unit)
            .y_label_formatter(&label)
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (points, color, name) in [(original, ORIGINAL, "original"), (decoded, DECODED, "decoded")] {
            signal
                .draw_series(LineSeries::new(points, color.stroke_width(1)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        }
        signal
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .draw()?;

        // The error has the signal's scale, so that the eye compares them rightly.
        let middle = (error_low + error_high) / 2.0;
        let half = (1.25 * (high - low) * 110.0 / 270.0 / 2.0).max((error_high - error_low) / 2.0);
        let mut chart = ChartBuilder::on(&error_area)
            .margin(8)
            .x_label_area_size(32)
            .y_label_area_size(56)
            .build_cartesian_2d(times, middle - half..middle + half)?;
        chart
            .configure_mesh()
            .x_desc("seconds")
            .y_desc("error")
            .y_labels(7)
            .y_label_formatter(&label)
            .light_line_style(TRANSPARENT)
            .draw()?;
        chart.draw_series(LineSeries::new(error, ERROR.stroke_width(1)))?;
        root.present()?;
    }
    Ok(svg)
}

/// How many frames have which PRD, on a logarithmic axis.
pub(super) fn histogram(streams: &[&StreamFidelity]) -> Result<String, PlotError> {
    /// Bars per decade.
    const BARS: f64 = 12.0;
    let mut bars = std::collections::BTreeMap::<i64, u64>::new();
    for (edge_percent, count) in streams.iter().flat_map(|stream| stream.frames().histogram()) {
        *bars.entry((edge_percent.log10() * BARS).floor() as i64).or_default() += count;
    }
    let (Some(first), Some(last)) = (bars.keys().next(), bars.keys().last()) else {
        return Err("no frame varies".into());
    };
    let left = |bar: i64| 10.0_f64.powf(bar as f64 / BARS);
    let tallest = bars.values().copied().max().unwrap_or(1);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (960, 260)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(8)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .caption("PRD of single frames", ("sans-serif", 16))
            .build_cartesian_2d((left(*first)..left(last + 1)).log_scale(), 0..tallest + tallest / 10 + 1)?;
        chart
            .configure_mesh()
            .x_desc("PRD in percent")
            .y_desc("frames")
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&|value| {
                format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
            })
            .draw()?;
        chart.draw_series(bars.iter().map(|(bar, count)| {
            Rectangle::new([(left(*bar), 0), (left(bar + 1), *count)], ORIGINAL.filled())
        }))?;
        root.present()?;
    }
    Ok(svg)
}

/// A number as short as it is exact on an axis, and never minus zero.
fn label(value: &f64) -> String {
    let rounded = (value * 1e9).round() / 1e9;
    if rounded == 0.0 { "0".to_owned() } else { rounded.to_string() }
}

/// A range around all values with some room, never empty.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return (-1.0, 1.0);
    }
    let room = (0.05 * (high - low)).max(1e-9 * high.abs()).max(1e-12);
    (low - room, high + room)
}
