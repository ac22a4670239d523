import type { ReleaseDescription } from './describe-release.ts';

export interface ReleaseDiff {
  from: string;
  to: string;
  /** What differs besides files: commit, tag, builtAt, requires.*, bytes, unpackedBytes, sha256, attachments. */
  fields: { name: string; from: string | null; to: string | null }[];
  files: { added: string[]; removed: string[]; changed: string[]; unchanged: number };
}

/** What differs between two releases, from signed metadata alone; paths sorted. Pure. */
export function diffReleases(from: ReleaseDescription, to: ReleaseDescription): ReleaseDiff {
  const before = fieldsOf(from);
  const after = fieldsOf(to);
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  const has = (release: ReleaseDescription, path: string) => Object.hasOwn(release.files, path);
  const common = Object.keys(to.files).filter(path => has(from, path));
  const changed = common.filter(path => from.files[path] !== to.files[path]);
  return {
    from: from.version,
    to: to.version,
    fields: names
      .map(name => ({ name, from: before[name] ?? null, to: after[name] ?? null }))
      .filter(field => field.from !== field.to),
    files: {
      added: Object.keys(to.files)
        .filter(path => !has(from, path))
        .sort(),
      removed: Object.keys(from.files)
        .filter(path => !has(to, path))
        .sort(),
      changed: changed.sort(),
      unchanged: common.length - changed.length,
    },
  };
}

function fieldsOf(release: ReleaseDescription): Record<string, string | null> {
  const { commit, tag, builder, builtAt, sha256, bytes, unpackedBytes, requires, attachments } = release;
  return {
    commit,
    tag,
    builder,
    builtAt,
    ...Object.fromEntries(Object.entries(requires).map(([name, value]) => [`requires.${name}`, value])),
    bytes: String(bytes),
    unpackedBytes: String(unpackedBytes),
    sha256,
    attachments: attachments.map(path => path.slice(path.lastIndexOf('/') + 1)).join(' ') || null,
  };
}
