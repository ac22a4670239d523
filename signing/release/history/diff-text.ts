import { createTwoFilesPatch } from 'diff';
import type { ReleaseDiff } from './diff.ts';

/** Bounds of one text diff; whoever asks may be anybody who can see the history page. */
export const textDiffLimits = {
  /** Longest file that is compared. */
  fileBytes: 1 << 20,
  /** Longest line of a text that is for people; longer ones are a bundle. */
  lineCharacters: 5000,
  /** Time for all files together. */
  totalMs: 5000,
  /** Lines of all patches together. */
  patchLines: 10_000,
};

export interface FileDiff {
  path: string;
  change: 'added' | 'removed' | 'changed';
  /** Unified diff; null when there is none, see `note`. Control characters are replaced: it can be shown on a terminal. */
  patch: string | null;
  /** Why there is no patch: binary, minified, too large, too different, too much in all. */
  note: string | null;
}

/**
 * Unified diffs of the files that differ, bounded in size and time. Pure but for the clock of the diff itself.
 *
 * @param contents bytes by path in each release; a file that is not there is said to be too large.
 */
export function diffTexts(
  diff: ReleaseDiff,
  contents: { from: ReadonlyMap<string, Buffer>; to: ReadonlyMap<string, Buffer> },
  limits: typeof textDiffLimits = textDiffLimits,
): FileDiff[] {
  const deadline = Date.now() + limits.totalMs;
  let lines = 0;
  const one = (path: string, change: FileDiff['change']): FileDiff => {
    const none = (note: string): FileDiff => ({ path, change, patch: null, note });
    const before = change === 'added' ? Buffer.alloc(0) : contents.from.get(path);
    const after = change === 'removed' ? Buffer.alloc(0) : contents.to.get(path);
    if (!before || !after || Math.max(before.length, after.length) > limits.fileBytes)
      return none('too large');
    const texts = [before, after].map(textOf);
    if (texts.includes(undefined)) return none('binary');
    const [old, young] = texts as [string, string];
    if (longestLine(old) > limits.lineCharacters || longestLine(young) > limits.lineCharacters) {
      return none('minified');
    }
    const timeout = deadline - Date.now();
    if (timeout <= 0 || lines >= limits.patchLines) return none('too much in all');
    const names = [`${diff.from}/${path}`, `${diff.to}/${path}`] as const;
    const patch = createTwoFilesPatch(...names, old, young, undefined, undefined, { timeout });
    if (patch === undefined) return none('too different');
    const count = patch.split('\n').length;
    if (lines + count > limits.patchLines) return none('too much in all');
    lines += count;
    return { path, change, patch: printable(patch), note: null };
  };
  const { added, removed, changed } = diff.files;
  return [
    ...changed.map(path => one(path, 'changed')),
    ...added.map(path => one(path, 'added')),
    ...removed.map(path => one(path, 'removed')),
  ].sort((a, b) => (a.path < b.path ? -1 : 1));
}

function textOf(bytes: Buffer): string | undefined {
  if (bytes.includes(0)) return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

const longestLine = (text: string): number =>
  text.split('\n').reduce((longest, line) => Math.max(longest, line.length), 0);

/** A build is foreign text: nothing in it may steer the terminal that shows it. */
const printable = (text: string): string =>
  // eslint-disable-next-line no-control-regex
  text.replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');
