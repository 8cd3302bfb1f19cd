//! Matrices that are stored transposed, read in panels: a stretch of every stored row, long enough that a read is worth its
//! call. Chunks that lie beside each other are of one panel, which the threads that work on them share.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::ConvertError;
use crate::source::{SourceFile, Stored};

/// Greatest panel. It holds the largest matrix of GPT-2 as one piece.
const PANEL_BYTES: u64 = 10 << 20;
/// Panels there are at most. Chunks in work lie beside each other: most are of one panel, some of the next. Whoever needs
/// another one waits, so that memory does not grow with the threads.
const MAX_PANELS: usize = 3;
/// Columns that are copied at once: a cache line of the output, and as many lines of the panel as stay in the cache.
const TILE_COLUMNS: usize = 16;

/// A stretch of every stored row of one matrix.
#[derive(Debug)]
struct Panel {
    /// File and place of the matrix.
    of: (usize, u64),
    /// The first output row, which is the first element of each stretch.
    first_row: u64,
    /// Elements of a stretch.
    rows: u64,
    bytes: Vec<u8>,
}

/// What was read last, newest first.
#[derive(Debug, Default)]
pub(crate) struct Panels {
    read: Mutex<Vec<Arc<Panel>>>,
    given_back: Condvar,
}

/// A panel in use. Fields are dropped in this order: whoever is told looks again after it was given back.
struct Held<'a> {
    panel: Arc<Panel>,
    _tell: Tell<'a>,
}

/// Tells whoever waits that a panel was given back.
struct Tell<'a>(&'a Panels);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        let _nobody_is_between_looking_and_waiting = self.0.lock();
        self.0.given_back.notify_all();
    }
}

impl Panels {
    /// Reads `out.len() / columns` output rows of `from` from `first_row` on, as stored bytes in output order.
    pub(crate) fn read(
        &self,
        (from, file): (&Stored, &SourceFile),
        first_row: u64,
        out: &mut [u8],
    ) -> Result<(), ConvertError> {
        let (element, columns) = (from.encoding.block_bytes(), from.columns as usize);
        let mut row = first_row;
        let mut rest = out;
        while !rest.is_empty() {
            let held = self.panel((from, file), row)?;
            let panel = &held.panel;
            let within = (row - panel.first_row) as usize;
            let rows = (panel.rows as usize - within).min(rest.len() / (columns * element));
            let (now, later) = rest.split_at_mut(rows * columns * element);
            match element {
                2 => panel.copy::<2>(within, columns, now),
                4 => panel.copy::<4>(within, columns, now),
                other => {
                    return Err(ConvertError::unsupported(format!("elements of {other} bytes are never transposed")));
                }
            }
            (rest, row) = (later, row + rows as u64);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Panel>>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The panel with that output row. Whoever needs one that is being read waits for it, and then has it.
    fn panel(&self, (from, file): (&Stored, &SourceFile), row: u64) -> Result<Held<'_>, ConvertError> {
        let mut read = self.lock();
        let is_wanted = |panel: &Arc<Panel>| {
            let rows = panel.first_row..panel.first_row + panel.rows;
            panel.of == (from.file, from.offset) && rows.contains(&row)
        };
        let bytes = loop {
            if let Some(panel) = read.iter().find(|panel| is_wanted(panel)) {
                return Ok(Held { panel: Arc::clone(panel), _tell: Tell(self) });
            }
            if read.len() < MAX_PANELS {
                break Vec::new();
            }
            // The oldest that nobody holds; its memory is used again.
            if let Some(oldest) = read.iter().rposition(|panel| Arc::strong_count(panel) == 1) {
                break Arc::try_unwrap(read.remove(oldest)).map(|panel| panel.bytes).unwrap_or_default();
            }
            read = self.given_back.wait(read).unwrap_or_else(PoisonError::into_inner);
        };
        let panel = Arc::new(Panel::read(bytes, (from, file), row)?);
        read.insert(0, Arc::clone(&panel));
        Ok(Held { panel, _tell: Tell(self) })
    }
}

impl Panel {
    /// Reads the panel with that output row into `bytes`, whatever they held.
    fn read(mut bytes: Vec<u8>, (from, file): (&Stored, &SourceFile), row: u64) -> Result<Panel, ConvertError> {
        let element = from.encoding.block_bytes() as u64;
        // A column is at most `checkpoint::MAX_COLUMNS` elements, so a panel has one row at least.
        let width = (PANEL_BYTES / (from.columns * element)).clamp(1, from.rows);
        let first_row = row / width * width;
        let rows = width.min(from.rows - first_row);
        let stretch = rows * element;
        bytes.resize((stretch * from.columns) as usize, 0);
        if rows == from.rows {
            file.read_at(&mut bytes, from.offset)?;
        } else {
            for (column, bytes) in (0..).zip(bytes.chunks_exact_mut(stretch as usize)) {
                file.read_at(bytes, from.offset + (column * from.rows + first_row) * element)?;
            }
        }
        Ok(Panel { of: (from.file, from.offset), first_row, rows, bytes })
    }

    /// Copies output rows from `first` (within the panel) on: output element (r, c) is element (c, r) here. `N` is the size of
    /// an element.
    fn copy<const N: usize>(&self, first: usize, columns: usize, out: &mut [u8]) {
        let (stored, _) = self.bytes.as_chunks::<N>();
        let (out, _) = out.as_chunks_mut::<N>();
        let stretch = self.rows as usize;
        for tile in (0..columns).step_by(TILE_COLUMNS) {
            let end = columns.min(tile + TILE_COLUMNS);
            for (row, out) in out.chunks_exact_mut(columns).enumerate() {
                let stored = stored[tile * stretch..].iter().skip(first + row).step_by(stretch);
                for (to, from) in out[tile..end].iter_mut().zip(stored) {
                    *to = *from;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::{PANEL_BYTES, Panels};
    use crate::blocks::Encoding;
    use crate::source::{Layout, SourceFile, Stored};

    #[test]
    fn every_element_changes_places_whatever_the_panels() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        // A matrix in one panel, one in several with a rest, one of a single row; odd sizes, both sizes of elements.
        let cases =
            [(Encoding::F32, 37, 19), (Encoding::F16, 700, 9_001), (Encoding::BF16, 1, 33), (Encoding::F32, 33, 1)];
        for (encoding, rows, columns) in cases {
            let element = encoding.block_bytes();
            let (count, offset) = (rows * columns, 3);
            let bytes: Vec<u8> = (0..count)
                .flat_map(|index| (index as u32).wrapping_mul(0x9e37_79b1).to_le_bytes()[..element].to_vec())
                .collect();
            std::fs::write(&path, [vec![0xaa; offset], bytes.clone(), vec![0xbb; 5]].concat()).expect("written");
            let file = SourceFile::new(&path, File::open(&path).expect("opened")).expect("measured");
            let (rows_u64, columns_u64) = (rows as u64, columns as u64);
            let layout = Layout::Transposed;
            let stored =
                Stored { file: 0, offset: offset as u64, encoding, rows: rows_u64, columns: columns_u64, layout };
            let expected: Vec<u8> = (0..rows)
                .flat_map(|row| (0..columns).map(move |column| (column * rows + row) * element))
                .flat_map(|at| bytes[at..at + element].to_vec())
                .collect();
            let panels = Panels::default();
            let mut out = vec![0; bytes.len()];
            let step = 31;
            for first in (0..rows).step_by(step) {
                let end = rows.min(first + step);
                let out = &mut out[first * columns * element..end * columns * element];
                panels.read((&stored, &file), first as u64, out).expect("read");
            }
            assert!(out == expected, "{encoding} {rows} × {columns}");
        }
        const { assert!(700 * 9_001 * 2 > PANEL_BYTES, "the second case takes several panels") };
    }
}
