// Go-audit verifies the transparency log of a live node over HTTP, with what Go's checksum database is verified with and
// nothing of this project's: golang.org/x/mod/sumdb/note and .../tlog. Spec: cmtp-spec/spec/18-log.md.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height = 8
	width  = 1 << height
	// Bytes of an entry, and of the length before it in a bundle.
	entryBytes, lengthBytes = 68, 2
	// Longer than any file of a log.
	fileMax = 1 << 20
)

func main() {
	base := flag.String("url", "", "`prefix` of the log, such as http://127.0.0.1:9433/log/0")
	key := flag.String("key", "", "the log's verifier `key`: name+hash+base64")
	inclusions := flag.Int("inclusions", 1000, "how many random entries are proved to be in the tree")
	sizes := flag.Int("sizes", 20, "how many sizes of the growing tree are proved consistent, each with each")
	until := flag.Int64("until", 1, "`entries` that the log has to reach before it is judged")
	patience := flag.Duration("patience", 2*time.Minute, "how long the log may take for that")
	seed := flag.Int64("seed", time.Now().UnixNano(), "of the random choice")
	flip := flag.String("flip", "", "change one byte of the first file whose name begins so, as if the node had")
	flag.Parse()
	if *sizes < 1 {
		fmt.Fprintln(os.Stderr, "go-audit: -sizes: at least 1")
		os.Exit(2)
	}
	log := &log{base: *base, flip: *flip, files: map[string][]byte{}}
	report, err := log.audit(*key, *inclusions, *sizes, *until, *patience, rand.New(rand.NewSource(*seed)))
	if err != nil {
		fmt.Fprintf(os.Stderr, "go-audit: %v (seed %d)\n", err, *seed)
		os.Exit(1)
	}
	if log.flip != "" {
		fmt.Fprintf(os.Stderr, "go-audit: no file that begins with %q was read, so nothing was changed\n", log.flip)
		os.Exit(2)
	}
	fmt.Println(report)
}

// log is a log at a URL, and what was fetched of it.
type log struct {
	base   string
	flip   string
	files  map[string][]byte
	levels int
}

func (l *log) audit(key string, inclusions, sizes int, until int64, patience time.Duration, random *rand.Rand) (string, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return "", fmt.Errorf("key %q: %w", key, err)
	}
	trees, err := l.watch(verifier, sizes, until, patience)
	if err != nil {
		return "", err
	}
	newest := trees[len(trees)-1]
	pairs, err := l.consistent(spread(trees, sizes))
	if err != nil {
		return "", err
	}
	compared, err := l.included(newest, inclusions, random)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("checkpoints=%d first=%d size=%d levels=%d sizes=%d pairs=%d inclusions=%d compared=%d files=%d",
		len(trees), trees[0].N, newest.N, l.levels, sizes, pairs, inclusions, compared, len(l.files)), nil
}

// watch fetches checkpoints until there are enough, each verified, and none smaller than the one before.
func (l *log) watch(verifier note.Verifier, sizes int, until int64, patience time.Duration) ([]tlog.Tree, error) {
	var trees []tlog.Tree
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		tree, err := l.checkpoint(verifier)
		if err != nil {
			return nil, err
		}
		last := len(trees) - 1
		switch {
		case tree.N == 0:
		case last < 0 || tree.N > trees[last].N:
			trees = append(trees, tree)
		case tree.N < trees[last].N:
			return nil, fmt.Errorf("a checkpoint of %d entries was served after one of %d", tree.N, trees[last].N)
		case tree.Hash != trees[last].Hash:
			return nil, fmt.Errorf("two checkpoints of %d entries have different roots", tree.N)
		}
		if len(trees) >= sizes && trees[len(trees)-1].N >= until {
			return trees, nil
		}
		if time.Since(begun) > patience {
			return nil, fmt.Errorf("after %v the log had %d entries and was seen with %d sizes; asked for are %d and %d",
				patience, tree.N, len(trees), until, sizes)
		}
	}
}

func (l *log) checkpoint(verifier note.Verifier) (tlog.Tree, error) {
	text, err := l.fetch("checkpoint")
	if err != nil {
		return tlog.Tree{}, err
	}
	signed, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("checkpoint: %w", err)
	}
	// [LOG-4] Exactly these three lines: origin, size, root.
	lines := strings.Split(signed.Text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return tlog.Tree{}, fmt.Errorf("checkpoint: %q has not three lines", signed.Text)
	}
	// [LOG-1] [LOG-3] The name of the key is the origin.
	if lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("checkpoint: its origin is %q, and not the key's name, %q", lines[0], verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, fmt.Errorf("checkpoint: its size is %q", lines[1])
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return tlog.Tree{}, fmt.Errorf("checkpoint: its root is %q", lines[2])
	}
	tree := tlog.Tree{N: size}
	copy(tree.Hash[:], root)
	return tree, nil
}

// spread gives so many of the trees, the last among them and, where it is not alone, the first.
func spread(trees []tlog.Tree, count int) []tlog.Tree {
	some := []tlog.Tree{trees[len(trees)-1]}
	for i := count - 2; i >= 0; i-- {
		some = append([]tlog.Tree{trees[i*(len(trees)-1)/(count-1)]}, some...)
	}
	return some
}

// consistent proves from the tiles that each tree begins with every smaller one.
func (l *log) consistent(trees []tlog.Tree) (pairs int, err error) {
	for i, old := range trees {
		for _, tree := range trees[i+1:] {
			proof, err := tlog.ProveTree(tree.N, old.N, tlog.TileHashReader(tree, l))
			if err == nil {
				err = tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash)
			}
			if err != nil {
				return pairs, fmt.Errorf("from %d to %d entries: %w", old.N, tree.N, err)
			}
			pairs++
		}
	}
	return pairs, nil
}

// included proves entries at random, and compares all that is in their bundles with the tree.
func (l *log) included(tree tlog.Tree, count int, random *rand.Rand) (compared int, err error) {
	reader := tlog.TileHashReader(tree, l)
	seen := map[int64]bool{}
	for ; count > 0; count-- {
		index := random.Int63n(tree.N)
		bundle := index / width
		entries, err := l.bundle(tree, bundle)
		if err != nil {
			return compared, err
		}
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		if err == nil {
			err = tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entries[index%width]))
		}
		if err != nil {
			return compared, fmt.Errorf("entry %d of %d: %w", index, tree.N, err)
		}
		if seen[bundle] {
			continue
		}
		seen[bundle] = true
		var places []int64
		for i := range entries {
			places = append(places, tlog.StoredHashIndex(0, bundle*width+int64(i)))
		}
		hashes, err := reader.ReadHashes(places)
		if err != nil {
			return compared, fmt.Errorf("bundle %d of %d entries: %w", bundle, tree.N, err)
		}
		for i, entry := range entries {
			if tlog.RecordHash(entry) != hashes[i] {
				return compared, fmt.Errorf("entry %d of %d: its bundle has other bytes than the tree", bundle*width+int64(i), tree.N)
			}
			compared++
		}
	}
	return compared, nil
}

// bundle gives the entries of a bundle that are in the tree.
func (l *log) bundle(tree tlog.Tree, number int64) ([][]byte, error) {
	count := tree.N - number*width
	if count > width {
		count = width
	}
	data, err := l.file("tile/entries/", number, int(count), lengthBytes+entryBytes)
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for ; len(data) > 0; data = data[lengthBytes+entryBytes:] {
		if length := binary.BigEndian.Uint16(data); length != entryBytes {
			return nil, fmt.Errorf("bundle %d: the length of an entry is %d", number, length)
		}
		entries = append(entries, data[lengthBytes:lengthBytes+entryBytes])
	}
	return entries, nil
}

// Height is how a tlog.TileReader says how many levels a tile has.
func (l *log) Height() int { return height }

// SaveTiles has nothing to do: what was fetched is kept, and checked again wherever it is used.
func (l *log) SaveTiles([]tlog.Tile, [][]byte) {}

// ReadTiles fetches tiles.
func (l *log) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var data [][]byte
	for _, tile := range tiles {
		hashes, err := l.file(fmt.Sprintf("tile/%d/", tile.L), tile.N, tile.W, tlog.HashSize)
		if err != nil {
			return nil, err
		}
		if l.levels <= tile.L {
			l.levels = tile.L + 1
		}
		data = append(data, hashes)
	}
	return data, nil
}

// file gives the first count pieces of a tile or bundle. [LOG-6] A narrow one may be gone once the full one is there.
func (l *log) file(folder string, number int64, count, piece int) ([]byte, error) {
	// Go's name of a tile has its height in front, C2SP's has not.
	full := tlog.Tile{H: height, L: 0, N: number, W: width}.Path()
	full = folder + strings.TrimPrefix(full, fmt.Sprintf("tile/%d/0/", height))
	names := []string{full}
	if count < width {
		names = []string{fmt.Sprintf("%s.p/%d", full, count), full}
	}
	var firstErr error
	for _, name := range names {
		data, known := l.files[name]
		if !known {
			fetched, err := l.fetch(name)
			if err != nil {
				if firstErr == nil {
					firstErr = err
				}
				continue
			}
			l.files[name], data = fetched, fetched
		}
		has := width
		if name != full {
			has = count
		}
		if len(data) != has*piece {
			return nil, fmt.Errorf("%s: %d bytes; expected are %d", name, len(data), has*piece)
		}
		return data[:count*piece], nil
	}
	return nil, firstErr
}

func (l *log) fetch(name string) ([]byte, error) {
	answer, err := http.Get(l.base + "/" + name)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, fileMax))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", name, answer.Status)
	}
	if l.flip != "" && strings.HasPrefix(name, l.flip) && len(data) > lengthBytes {
		l.flip = ""
		// In the first hash or entry, which is used however much of the file is.
		data[lengthBytes] ^= 1
	}
	return data, nil
}
