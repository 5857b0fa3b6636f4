//! Names of tiles, and what bundles of entries hold: C2SP tlog-tiles.

use tlog_tiles::Tile;

use crate::receipt::Entry;

/// The path of a tile below the log's own, `tile/LEVEL/NUMBER[.p/WIDTH]`: without the height, which others put into it.
/// A tile of data is a bundle of entries.
///
/// ```
/// use cmtp_codec::log::{tile_at, tile_path};
/// use tlog_tiles::Tile;
///
/// let tile = Tile::new(8, 1, 1_234, 5, false);
/// assert_eq!(tile_path(&tile), "tile/1/x001/234.p/5");
/// assert_eq!(tile_at("tile/1/x001/234.p/5"), Some(tile));
/// ```
pub fn tile_path(tile: &Tile) -> String {
    let path = tile.path();
    let (from, to) = if tile.is_data() { (WITH_DATA, ENTRIES) } else { (WITH_HEIGHT, TILES) };
    path.replacen(from, to, 1)
}

/// The tile at a path that [`tile_path`] makes; `None` for any other spelling.
pub fn tile_at(path: &str) -> Option<Tile> {
    let (prefix, rest) = match path.strip_prefix(ENTRIES) {
        Some(rest) => (WITH_DATA, rest),
        None => (WITH_HEIGHT, path.strip_prefix(TILES)?),
    };
    // The library panics at a width of 0.
    let has_no_width = rest.rsplit_once(".p/").is_some_and(|(_, width)| width.starts_with('0'));
    if rest.len() > PATH_MAX || has_no_width {
        return None;
    }
    // A level has two digits at most, and is at most 63.
    let level = rest.split('/').next().and_then(|level| level.parse::<u8>().ok());
    if prefix == WITH_HEIGHT && level.is_none_or(|level| level > LEVEL_MAX) {
        return None;
    }
    let tile = Tile::from_path(&format!("{prefix}{rest}")).ok()?;
    (tile_path(&tile) == path).then_some(tile)
}

/// Entries as a bundle has them, each behind its length.
pub fn bundle<'a>(entries: impl IntoIterator<Item = &'a [u8; Entry::LENGTH]>) -> Vec<u8> {
    let mut bundle = Vec::new();
    for entry in entries {
        bundle.extend_from_slice(&LENGTH);
        bundle.extend_from_slice(entry);
    }
    bundle
}

/// The entries of a bundle; `None` where one has another length than an entry, or more stand there than 256.
pub fn read_bundle(bundle: &[u8]) -> Option<Vec<[u8; Entry::LENGTH]>> {
    let (framed, rest) = bundle.as_chunks::<{ LENGTH.len() + Entry::LENGTH }>();
    if !rest.is_empty() || framed.len() > FULL {
        return None;
    }
    let entry =
        |framed: &[u8; LENGTH.len() + Entry::LENGTH]| framed.strip_prefix(&LENGTH)?.try_into().ok();
    framed.iter().map(entry).collect()
}

const TILES: &str = "tile/";
const ENTRIES: &str = "tile/entries/";
const WITH_HEIGHT: &str = "tile/8/";
const WITH_DATA: &str = "tile/8/data/";
/// Entries of a full bundle.
const FULL: usize = 256;
/// An entry's 68 bytes, as a `u16`.
const LENGTH: [u8; 2] = [0, Entry::LENGTH as u8];
const LEVEL_MAX: u8 = 63;
/// A number of 2^64 and a width; more is refused before it is looked at.
const PATH_MAX: usize = 44;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_tlog_tiles_and_have_one_spelling() {
        // [LOG-6]
        for (tile, path) in [
            (Tile::new(8, 0, 0, 256, false), "tile/0/000"),
            (Tile::new(8, 3, 1_234_067, 256, false), "tile/3/x001/x234/067"),
            (Tile::new(8, 63, 999, 1, false), "tile/63/999.p/1"),
            (Tile::new(8, 0, 1_000, 256, true), "tile/entries/x001/000"),
            (Tile::new(8, 0, 5, 255, true), "tile/entries/005.p/255"),
        ] {
            assert_eq!(tile_path(&tile), path);
            assert_eq!(tile_at(path), Some(tile));
        }
        let long = format!("tile/0/{}", "x001/".repeat(20));
        for bad in [
            "",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/0000",
            "tile/00/000",
            "tile/64/000",
            "tile/0/x000/001",
            "tile/0/000.p/0",
            "tile/0/000.p/00",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/8/0/000",
            "tile/data/000",
            "tile/entries/5",
            "tile/entries/000.p/0",
            "tile/entries/0/000",
            "tile/0/../000",
            "/tile/0/000",
            "tile/-1/000",
            "tile/255/000",
            "tile/+1/000",
            &long,
        ] {
            assert_eq!(tile_at(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_bundle_reads_back() {
        // [LOG-6]
        let entries: Vec<_> = (0..=255).map(|number| [number; Entry::LENGTH]).collect();
        let full = bundle(&entries);
        assert_eq!(full.len(), 256 * 70);
        assert_eq!(read_bundle(&full).unwrap(), entries);
        assert_eq!(read_bundle(&[]), Some(Vec::new()));
        assert_eq!(read_bundle(&full[1..]), None);
        assert_eq!(read_bundle(&bundle(entries.iter().chain(&entries[..1]))), None);
        let mut other = bundle(&entries[..2]);
        other[71] = 67;
        assert_eq!(read_bundle(&other), None);
    }
}
