//! The report of an evaluation: one HTML page with its plots inside, no network needed.

use std::fmt::Write;

use super::plot::{PlotError, histogram, overlay};
use super::{Evaluation, Row};
use crate::pipeline::Measured;

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse}th,td{padding:.25em .8em;text-align:right;border-bottom:1px solid #ddd}\
th:first-child,td:first-child{text-align:left}tr.all td{font-weight:bold}figure{margin:1.5em 0}\
figcaption{color:#555}svg{max-width:100%;height:auto}";

/// The page.
pub(super) fn html(evaluation: &Evaluation, measured: &[(String, Measured)]) -> Result<String, PlotError> {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{name}</title><style>{STYLE}</style>\
<h1>{name}</h1><p>Model <code>{id}</code>, nominal ratio {nominal:.2} over 16-bit samples. The ratio below is that of \
stored sample bits to all bytes of the packet file. PRD is taken over whole streams with their mean removed and averaged over streams.</p>",
        name = escape(&evaluation.model),
        id = evaluation.model_id,
        nominal = evaluation.nominal_ratio,
    );
    page.push_str(
        "<table><tr><th>recording<th>samples<th>ratio<th>PRD %<th>frame PRD median %<th>p90 %<th>SNR dB<th>max error</tr>",
    );
    for row in &evaluation.recordings {
        write_row(&mut page, row, "");
    }
    write_row(&mut page, &evaluation.overall, " class=\"all\"");
    page.push_str("</table>");

    let streams: Vec<_> =
        measured.iter().flat_map(|(_, measured)| &measured.streams).map(|stream| &stream.fidelity).collect();
    if let Ok(svg) = histogram(&streams) {
        let _ = write!(page, "<figure>{svg}</figure>");
    }
    for (_, measured) in measured {
        for stream in &measured.streams {
            let _ = write!(page, "<h2>{}</h2>", escape(stream.info.key.as_str()));
            for (excerpt, title) in
                [(&stream.beginning, "Beginning"), (&stream.worst, "The frame with the largest error")]
            {
                if excerpt.original.is_empty() {
                    continue;
                }
                let svg = overlay(&stream.info, excerpt)?;
                let _ = write!(
                    page,
                    "<figure>{svg}<figcaption>{title}, frame PRD up to {:.2} %</figcaption></figure>",
                    excerpt.prd_percent
                );
            }
        }
    }
    page.push_str("</html>\n");
    Ok(page)
}

fn write_row(page: &mut String, row: &Row, class: &str) {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    let frames = row.fidelity.frame_prd_percent;
    let _ = write!(
        page,
        "<tr{class}><td>{}<td>{}<td>{:.2}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
        escape(&row.recording),
        row.samples,
        row.ratio,
        number(row.fidelity.prd_percent),
        number(frames.map(|frames| frames.median)),
        number(frames.map(|frames| frames.p90)),
        number(row.fidelity.snr_db),
        row.fidelity.max_error,
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
