//! The node in short: CPUs, memory, disks, network, agents, GPUs, on one screen.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    agents, gpus, heading, latency,
    meter::{self, bar, spark},
    put, quantile,
    table::{Cell, Table, column},
};
use crate::monitor::{
    figures::{
        Figures,
        host::{Cpu, Disk, Host, Link},
    },
    history::History,
    theme::{Theme, Tone},
    units::{NONE, bytes, count, percent, two},
};

/// Columns for a CPU with its bar.
const CPU_WIDTH: u16 = 26;

/// Of the lines below memory, one of so many is for CPUs.
const CPU_PART: u16 = 4;

/// Fewer lines than these are left empty.
const LEFT: u16 = 5;

/// From here on disks and network stand beside each other, and have lines of what was.
const WIDE: u16 = 120;

/// Draws what fits, the most important first.
pub(super) fn draw(
    figures: &Figures,
    history: &History,
    area: Rect,
    buffer: &mut Buffer,
    theme: Theme,
) {
    let host = &figures.host;
    let mut rest = area;
    let take = |rest: &mut Rect, height: u16| {
        let height = height.min(rest.height);
        let part = Rect { height, ..*rest };
        rest.y += height;
        rest.height -= height;
        part
    };
    summary(host, history, take(&mut rest, 2), buffer, theme);
    let lines = cpu_lines(host.cpus.len(), rest.width, rest.height / CPU_PART);
    cpus(&host.cpus, take(&mut rest, lines), buffer, theme);
    let gpu_rows = lines_for(figures.gpus.len());
    let agent_rows = lines_for(figures.agents.len());
    let device_rows = lines_for(host.disks.len().max(host.links.len()));
    // Each part may have a third, and what the others do not need.
    let third = rest.height / 3;
    let wanted = [device_rows, agent_rows, gpu_rows];
    let fair = wanted.map(|wanted| wanted.min(third));
    let mut spare = rest.height - fair.iter().sum::<u16>();
    let heights: Vec<u16> = wanted
        .iter()
        .zip(fair)
        .map(|(wanted, fair)| {
            let more = (wanted - fair).min(spare);
            spare -= more;
            fair + more
        })
        .collect();
    let devices = take(&mut rest, heights[0]);
    let [left, right] = halves(devices);
    disks(&host.disks).draw(left, buffer, theme, None);
    links(&host.links).draw(right, buffer, theme, None);
    let part = take(&mut rest, heights[1]);
    if !figures.agents.is_empty() {
        agents::table(&figures.agents).draw(part, buffer, theme, None);
    }
    let part = take(&mut rest, heights[2]);
    if !figures.gpus.is_empty() {
        gpus::table(figures, history, rest.width).draw(part, buffer, theme, None);
    }
    // What is left is for what would be looked at next.
    if rest.height > LEFT && !figures.latencies.is_empty() {
        latency::table(figures, history, rest.width).draw(rest, buffer, theme, None);
    }
}

/// Lines of a table with so many rows, its heading among them, and a gap below.
fn lines_for(rows: usize) -> u16 {
    match rows {
        0 => 0,
        rows => u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(2),
    }
}

fn halves(area: Rect) -> [Rect; 2] {
    let left = (area.width - 2) / 2;
    let right = Rect {
        x: area.x + left + 2,
        width: area.width - left - 2,
        ..area
    };
    [
        Rect {
            width: left,
            ..area
        },
        right,
    ]
}

/// All CPUs together and memory, as bars; below them what there is to say about each, and how they
/// were.
fn summary(host: &Host, history: &History, area: Rect, buffer: &mut Buffer, theme: Theme) {
    let [left, right] = halves(area);
    let used = host.memory.used();
    let share = used
        .zip(host.memory.total)
        .map(|(used, total)| used / total);
    let (cpu, of_memory) = (host.cpu.busy, of(used, host.memory.total));
    let cpus = Some(host.cpus.len() as f64).filter(|cpus| *cpus > 0.0);
    let of_cpus = format!("{} of {}", percent(cpu), count(cpus));
    let halves = [
        (left, "CPU", cpu, of_cpus, about_cpus(host)),
        (right, "Mem", share, of_memory, about_memory(host)),
    ];
    for (half, title, share, text, about) in halves {
        heading(buffer, half, title, "", theme);
        let width = half.width - 4;
        bar(buffer, (half.x + 4, half.y), width, share, &text, theme);
        let about = fitting(&about, half.width);
        put(
            buffer,
            (half.x, half.y + 1),
            half.width,
            &about,
            Style::new(),
            false,
        );
        if area.width >= WIDE {
            let shift = u16::try_from(about.chars().count() + 2).unwrap_or(u16::MAX);
            let room = half.width.saturating_sub(shift);
            let name = if title == "CPU" { "cpu" } else { "memory" };
            let line = spark(&history.last(name, room.into()), Some(1.0));
            let at = (half.x + half.width - room, half.y + 1);
            put(buffer, at, room, &line, theme.style(Tone::Accent), true);
        }
    }
}

fn of(used: Option<f64>, total: Option<f64>) -> String {
    format!("{} of {}", bytes(used), bytes(total))
}

/// The most important first.
fn about_cpus(host: &Host) -> Vec<String> {
    let [one, five, fifteen] = host.loads.map(two);
    let cpu = &host.cpu;
    vec![
        format!("load {one} {five} {fifteen}"),
        format!("sys {}", percent(cpu.system)),
        format!("disk {}", percent(cpu.waiting)),
        format!("steal {}", percent(cpu.steal)),
    ]
}

/// What is waited for, and memory; the most important first.
fn about_memory(host: &Host) -> Vec<String> {
    let [cpu, disk, memory] = host.pressures.map(percent);
    let swap = match host.memory.swap_total {
        Some(0.0) => "no swap".to_owned(),
        None => format!("swap {NONE}"),
        total => format!("swap {}", of(host.memory.swap_used(), total)),
    };
    vec![
        format!("waits cpu {cpu}"),
        format!("disk {disk}"),
        format!("mem {memory}"),
        swap,
        format!("cached {}", bytes(host.memory.cached)),
    ]
}

/// As many of these as fit into a line.
fn fitting(parts: &[String], width: u16) -> String {
    let mut line = String::new();
    for part in parts {
        let gap = if line.is_empty() { "" } else { "  " };
        if line.chars().count() + gap.len() + part.chars().count() > usize::from(width) {
            break;
        }
        line.push_str(gap);
        line.push_str(part);
    }
    line
}

/// Lines that so many CPUs take.
fn cpu_lines(cpus: usize, width: u16, most: u16) -> u16 {
    let columns = usize::from((width / CPU_WIDTH).max(1));
    let lines = cpus.div_ceil(columns);
    let lines = if lines > most.into() {
        cpus.div_ceil(usize::from(width))
    } else {
        lines
    };
    u16::try_from(lines).unwrap_or(u16::MAX).min(most.max(1)) + u16::from(cpus > 0)
}

/// A bar for each CPU; if there are too many, a character for each.
fn cpus(cpus: &[Cpu], area: Rect, buffer: &mut Buffer, theme: Theme) {
    let height = area.height.saturating_sub(1);
    let columns = (area.width / CPU_WIDTH).max(1);
    let room = usize::from(columns) * usize::from(height);
    let of = |number: usize, per_line: u16| -> (u16, u16) {
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        (number % per_line, number / per_line)
    };
    if cpus.len() <= room {
        let wide = area.width / columns;
        for (number, cpu) in cpus.iter().enumerate() {
            let (column, line) = of(number, columns);
            let (x, y) = (area.x + column * wide, area.y + line);
            put(buffer, (x, y), 3, &cpu.name, theme.style(Tone::Dim), true);
            bar(
                buffer,
                (x + 4, y),
                wide - 6,
                cpu.busy,
                &percent(cpu.busy),
                theme,
            );
        }
        return;
    }
    for (number, cpu) in cpus.iter().enumerate() {
        let (x, line) = of(number, area.width);
        if line >= height {
            break;
        }
        let text = cpu
            .busy
            .map_or_else(|| NONE.to_owned(), |busy| meter::level(busy).to_string());
        let tone = match meter::tone(cpu.busy) {
            Tone::Plain => Tone::Accent,
            tone => tone,
        };
        put(
            buffer,
            (area.x + x, area.y + line),
            1,
            &text,
            theme.style(tone),
            false,
        );
    }
}

fn disks(disks: &[Disk]) -> Table {
    let row = |disk: &Disk| {
        let time = Cell {
            is_text: false,
            ..Cell::text(quantile(disk.p99, true))
        };
        vec![
            Cell::text(&disk.name),
            Cell::number(disk.read_bytes, bytes),
            Cell::number(disk.written_bytes, bytes),
            Cell::number(disk.requests, count),
            Cell::number(disk.busy, percent).tone(meter::tone(disk.busy)),
            time,
        ]
    };
    Table {
        columns: vec![
            column("DISK", 7, 0),
            column("READ/s", 7, 0),
            column("WRITE/s", 7, 0),
            column("REQ/s", 6, 2),
            column("BUSY", 5, 1),
            column("p99", 7, 3),
        ],
        rows: disks.iter().map(row).collect(),
    }
}

fn links(links: &[Link]) -> Table {
    let row = |link: &Link| {
        let is_failing = link.failed.is_some_and(|failed| failed > 0.0);
        vec![
            Cell::text(&link.name),
            Cell::number(link.received_bytes, bytes),
            Cell::number(link.sent_bytes, bytes),
            Cell::number(link.packets, count),
            Cell::number(link.failed, count).tone_if(is_failing, Tone::Bad),
        ]
    };
    Table {
        columns: vec![
            column("NETWORK", 8, 0),
            column("IN/s", 7, 0),
            column("OUT/s", 7, 0),
            column("PKT/s", 6, 2),
            column("FAIL/s", 6, 1),
        ],
        rows: links.iter().map(row).collect(),
    }
}
