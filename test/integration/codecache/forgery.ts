import { createHash, randomInt } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { TestContext } from 'node:test';
import type { Floors } from '../../../lib/protocol/release.ts';
import { canonicalBytes, stableJson } from '../../../signing/stable-json.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { upstream } from './web.ts';
import type { Upstream } from './web.ts';

/** A public tree in memory: path -> bytes. */
export type Tree = ReadonlyMap<string, Buffer>;

// What attackers edit is plain JSON.
// oxlint-disable-next-line typescript/no-explicit-any
export type Signed = Record<string, any>;

export async function readTree(directory: string): Promise<Tree> {
  const tree = new Map<string, Buffer>();
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) tree.set(relative(directory, path), await readFile(path));
  }
  return tree;
}

/** Serves a tree, with the cache rules that matter here; `current()` is asked at each request. */
export const serveTree = (t: TestContext, current: () => Tree): Promise<Upstream> =>
  upstream(t, (request, response) => {
    const path = (request.url ?? '').slice(1);
    const body = current().get(path);
    const control = path.endsWith('timestamp.json')
      ? 'public, max-age=0'
      : 'public, max-age=31536000, immutable';
    if (body === undefined) response.writeHead(404, { 'cache-control': 'public, max-age=0' }).end();
    else response.writeHead(200, { 'cache-control': control, 'content-length': body.length }).end(body);
  });

export const sha256Of = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** Newest published file of a role. */
export function newest(tree: Tree, role: string): { path: string; version: number; signed: Signed } {
  if (role === 'timestamp') return read(tree, 'metadata/timestamp.json');
  const versions = [...tree.keys()]
    .map(path => new RegExp(`^metadata/(\\d+)\\.${role}\\.json$`).exec(path)?.[1])
    .filter(version => version !== undefined)
    .map(Number);
  return read(tree, `metadata/${Math.max(...versions)}.${role}.json`);
}

function read(tree: Tree, path: string) {
  const { signed } = JSON.parse(tree.get(path)!.toString()) as { signed: Signed };
  return { path, version: Number(signed.version), signed };
}

export interface Edit {
  edit?: (signed: Signed) => void;
  /** Key names; a name twice signs twice. */
  signers?: string[];
  /** Further signatures, put before those. */
  more?: (signed: Signed) => { keyid: string; sig: string }[];
  /** Keep the version that the edit wrote. */
  sameVersion?: boolean;
}

const ONLINE: Record<string, string[]> = {
  root: ['root-1', 'root-2'],
  targets: ['targets-1', 'targets-2'],
  releases: ['builder'],
  stable: ['manager-1', 'manager-2'],
  canary: ['manager-1'],
  queues: ['manager-1', 'manager-2'],
  snapshot: ['snapshot'],
  timestamp: ['timestamp'],
};

/**
 * What somebody with some of the keys can publish: edited roles, signed by the named keys, with snapshot and timestamp
 * made to fit and signed by the online keys.
 */
export async function forge(
  tree: Tree,
  lab: ReleaseRepositoryLab,
  edits: Record<string, Edit>,
  files: Record<string, Buffer> = {},
): Promise<Tree> {
  const forged = new Map(tree);
  for (const [path, bytes] of Object.entries(files)) forged.set(path, bytes);
  const meta: Record<string, unknown> = {};
  const put = async (role: string) => {
    const { edit, signers = ONLINE[role]!, more, sameVersion } = edits[role] ?? {};
    const { signed } = newest(forged, role);
    if (role === 'snapshot') Object.assign(signed.meta as object, meta);
    if (role === 'timestamp') signed.meta = { 'snapshot.json': meta['snapshot.json'] };
    signed.version += sameVersion === true ? 0 : 1;
    edit?.(signed);
    const signatures = more?.(signed) ?? [];
    for (const name of signers) {
      const signer = await lab.keys.signer(name);
      signatures.push({
        keyid: signer.keyId,
        sig: (await signer.sign(canonicalBytes(signed))).toString('hex'),
      });
    }
    const bytes = stableJson({ signatures, signed });
    forged.set(
      role === 'timestamp' ? 'metadata/timestamp.json' : `metadata/${signed.version}.${role}.json`,
      bytes,
    );
    meta[`${role}.json`] = {
      hashes: { sha256: sha256Of(bytes) },
      length: bytes.length,
      version: signed.version,
    };
  };
  if (edits.root) await put('root');
  delete meta['root.json'];
  for (const role of Object.keys(edits).filter(role => !['root', 'snapshot', 'timestamp'].includes(role)))
    await put(role);
  await put('snapshot');
  await put('timestamp');
  return forged;
}

/** Two trees: a snapshot fast-forwarded by a stolen key, and the repository after that key was replaced in the root. */
export async function recovered(
  tree: Tree,
  lab: ReleaseRepositoryLab,
): Promise<{ stolen: Tree; healed: Tree }> {
  const stolen = await forge(tree, lab, { snapshot: { edit: signed => (signed.version = 1_000_000) } });
  const { keyId, public: key } = (await lab.keys.list()).find(({ name }) => name === 'builder')!;
  const healed = await forge(tree, lab, {
    root: {
      edit: signed => {
        signed.keys[keyId] = key;
        signed.roles.snapshot.keyids = [keyId];
      },
    },
    snapshot: { signers: ['builder'] },
  });
  return { stolen, healed };
}

/** Points `stable` at an edited pointer, signed by its rightful managers. */
export function forgePointer(
  tree: Tree,
  lab: ReleaseRepositoryLab,
  edit: (pointer: Signed) => void,
): Promise<Tree> {
  const { signed } = newest(tree, 'stable');
  const old = signed.targets['channels/stable.json'] as { hashes: { sha256: string } };
  const pointer = JSON.parse(
    tree.get(`targets/channels/${old.hashes.sha256}.stable.json`)!.toString(),
  ) as Signed;
  edit(pointer);
  const bytes = stableJson(pointer);
  const sha256 = sha256Of(bytes);
  const entry = { hashes: { sha256 }, length: bytes.length };
  return forge(
    tree,
    lab,
    { stable: { edit: stable => (stable.targets['channels/stable.json'] = entry) } },
    { [`targets/channels/${sha256}.stable.json`]: bytes },
  );
}

export function flip(tree: Tree, path: string, offset: number): Tree {
  const bytes = Buffer.from(tree.get(path)!);
  bytes[offset]! ^= 1;
  return new Map(tree).set(path, bytes);
}

export interface Case {
  name: string;
  /** Any of these refuses it rightly. */
  codes: string[];
  /** Must be named in the refusal. */
  names: RegExp;
  tree: Tree;
  /** Let the node verify the untouched tree first. */
  trustFirst?: boolean;
  floors?: Floors;
  queue?: string;
}

const noFloors: Floors = { root: 0, timestamp: 0, snapshot: 0, channelSerials: {}, signedTimeMs: 0 };

/** Everything that must be refused, with its own code. `lab` has root 2 published and canary without a pointer. */
export async function cases(lab: ReleaseRepositoryLab, tree: Tree, flipsPerFile: number): Promise<Case[]> {
  const list: Case[] = [];
  const find = (pattern: RegExp) => [...tree.keys()].filter(path => pattern.test(path)).at(-1)!;
  const kinds: [string, string, string[]][] = [
    ['root', newest(tree, 'root').path, ['E_TUF_SIGNATURE', 'E_TUF_FORMAT']],
    ['timestamp', 'metadata/timestamp.json', ['E_TUF_SIGNATURE', 'E_TUF_FORMAT']],
    ...['snapshot', 'targets', 'releases', 'stable', 'queues'].map((role): [string, string, string[]] => [
      role,
      newest(tree, role).path,
      ['E_TUF_HASH'],
    ]),
    ['queue map', find(/channels\.json$/), ['E_TARGET_HASH']],
    ['pointer', find(/\.stable\.json$/), ['E_TARGET_HASH']],
    ['pilot', find(/pilot-1\.0\.0/), ['E_TARGET_HASH']],
    ['runtime', find(/node-/), ['E_TARGET_HASH']],
  ];
  for (const [kind, path, codes] of kinds) {
    const { length } = tree.get(path)!;
    for (let i = 0; i < flipsPerFile; i += 1) {
      const offset = i < 2 ? randomInt(length) : i === 2 ? 0 : length - 1;
      const name = `one flipped byte in the ${kind} at ${offset}`;
      list.push({
        name,
        codes,
        names: new RegExp(path.replaceAll('.', '\\.')),
        tree: flip(tree, path, offset),
      });
    }
  }
  for (const [kind, path] of kinds.filter(([kind]) => ['queue map', 'pilot', 'runtime'].includes(kind))) {
    const bytes = tree.get(path)!;
    const named = new RegExp(path.replaceAll('.', '\\.'));
    const cut = new Map(tree).set(path, bytes.subarray(0, -1));
    list.push({ name: `${kind} a byte short`, codes: ['E_TARGET_LENGTH'], names: named, tree: cut });
    const long = new Map(tree).set(path, Buffer.concat([bytes, Buffer.alloc(5000)]));
    list.push({ name: `${kind} too long`, codes: ['E_TARGET_LENGTH'], names: named, tree: long });
  }
  const expires = '2020-01-01T00:00:00Z';
  for (const role of ['root', 'timestamp', 'snapshot', 'targets', 'releases', 'stable', 'queues']) {
    list.push({
      name: `${role} expired`,
      codes: ['E_TUF_EXPIRED'],
      names: new RegExp(role),
      tree: await forge(tree, lab, { [role]: { edit: signed => (signed.expires = expires) } }),
    });
    const { signers, sameVersion } = {
      signers: role === 'releases' ? ['root-1'] : ONLINE[role]!.slice(1),
      sameVersion: false,
    };
    list.push({
      name: `${role} without a signature it needs`,
      codes: ['E_TUF_SIGNATURE'],
      names: new RegExp(role),
      tree: await forge(tree, lab, { [role]: { signers, sameVersion } }),
    });
  }
  const twice = { stable: { signers: ['manager-1', 'manager-1'] } };
  list.push({
    name: 'one manager signing twice',
    codes: ['E_TUF_FORMAT', 'E_TUF_SIGNATURE'],
    names: /stable/,
    tree: await forge(tree, lab, twice),
  });
  const timestamp = newest(tree, 'timestamp');
  list.push(
    {
      name: 'a timestamp older than what the node trusts',
      codes: ['E_TUF_STALE'],
      names: /timestamp/,
      trustFirst: true,
      tree: await forge(tree, lab, {
        timestamp: { sameVersion: true, edit: signed => (signed.version = timestamp.version - 1) },
      }),
    },
    {
      name: 'a new timestamp that names an older snapshot',
      codes: ['E_TUF_ROLLBACK'],
      names: /timestamp/,
      trustFirst: true,
      tree: await forge(tree, lab, {
        timestamp: {
          edit: signed => (signed.meta['snapshot.json'].version = newest(tree, 'snapshot').version - 1),
        },
      }),
    },
    {
      name: 'a new snapshot that takes releases back',
      codes: ['E_TUF_ROLLBACK'],
      names: /snapshot/,
      trustFirst: true,
      tree: await forge(tree, lab, {
        snapshot: { edit: signed => (signed.meta['releases.json'].version -= 1) },
      }),
    },
    {
      name: 'a timestamp below the floor',
      codes: ['E_TUF_STALE'],
      names: /timestamp/,
      tree,
      floors: { ...noFloors, root: 2, timestamp: timestamp.version + 1 },
    },
    {
      name: 'a root below the floor',
      codes: ['E_TUF_STALE'],
      names: /root/,
      tree,
      floors: { ...noFloors, root: 3 },
    },
    {
      name: 'a snapshot below the floor',
      codes: ['E_TUF_STALE'],
      names: /snapshot/,
      tree,
      floors: { ...noFloors, root: 2, snapshot: 99 },
    },
    {
      name: 'a channel below its floor',
      codes: ['E_CHANNEL_FLOOR'],
      names: /stable/,
      tree,
      floors: { ...noFloors, channelSerials: { stable: 9 } },
    },
    {
      name: 'a clock behind the time the server signed',
      codes: ['E_CLOCK'],
      names: /clock/i,
      tree,
      floors: { ...noFloors, signedTimeMs: Date.now() + 3_600_000 },
    },
    {
      name: 'metadata signed in the future of this clock',
      codes: ['E_CLOCK'],
      names: /clock/i,
      tree: await forge(tree, lab, {
        timestamp: { edit: signed => (signed['x-pilotage-signed-ms'] = Date.now() + 3_600_000) },
      }),
    },
    {
      name: 'a queue whose channel has no release',
      codes: ['E_TARGET_UNKNOWN'],
      names: /canary/,
      tree: await withoutCanary(tree, lab),
      queue: 'Q-canary',
    },
    {
      name: 'a pointer to a build that releases does not sign',
      codes: ['E_TARGET_UNKNOWN'],
      names: /pilot-9/,
      tree: await forgePointer(tree, lab, pointer => (pointer.current.pilot.path = 'pilot/9/pilot-9.tar.gz')),
    },
    {
      name: 'a pointer with another hash than releases signs',
      codes: ['E_CHANNEL_MISMATCH'],
      names: /stable/,
      tree: await forgePointer(tree, lab, pointer => (pointer.current.pilot.sha256 = 'ab'.repeat(32))),
    },
    {
      name: "another channel's pointer",
      codes: ['E_CHANNEL_MISMATCH'],
      names: /stable/,
      tree: await forgePointer(tree, lab, pointer => (pointer.channel = 'dev')),
    },
    {
      name: 'a withdrawn release',
      codes: ['E_CHANNEL_YANKED'],
      names: /1\.0\.0/,
      tree: await forgePointer(tree, lab, pointer => (pointer.yanked = ['0.9.0', '1.0.0'])),
    },
    {
      name: "a release below the channel's least version",
      codes: ['E_CHANNEL_YANKED'],
      names: /1\.0\.0/,
      tree: await forgePointer(tree, lab, pointer => (pointer.min_version = '1.0.10')),
    },
    {
      name: 'a pointer signed by a role that may not sign it',
      codes: ['E_TARGET_UNKNOWN', 'E_TARGET_HASH'],
      names: /stable/,
      tree: await forge(tree, lab, {
        targets: { edit: signed => rename(signed, 'channels/stable.json', 'channels/other.json') },
      }),
    },
    {
      name: 'an archive that holds more than was signed',
      codes: ['E_ARCHIVE_UNSAFE'],
      names: /pilot-1\.0\.0/,
      tree: await withoutSignedFile(tree, lab),
    },
    {
      name: 'an error page for a timestamp',
      codes: ['E_TUF_FORMAT'],
      names: /timestamp/,
      tree: new Map(tree).set('metadata/timestamp.json', Buffer.from('<html>please log in</html>')),
    },
    {
      name: 'a missing snapshot',
      codes: ['E_CACHE_UNREACHABLE'],
      names: /snapshot/,
      tree: without(tree, newest(tree, 'snapshot').path),
    },
    {
      name: 'a missing runtime',
      codes: ['E_CACHE_UNREACHABLE'],
      names: /node-/,
      tree: without(tree, find(/node-/)),
    },
  );
  return list;
}

function without(tree: Tree, path: string): Tree {
  const less = new Map(tree);
  less.delete(path);
  return less;
}

const withoutCanary = (tree: Tree, lab: ReleaseRepositoryLab) =>
  forge(tree, lab, { canary: { edit: signed => (signed.targets = {}) } });

const withoutSignedFile = (tree: Tree, lab: ReleaseRepositoryLab) =>
  forge(tree, lab, {
    releases: {
      edit: signed => {
        const { custom } = signed.targets['pilot/1.0.0/pilot-1.0.0.tar.gz'] as Signed;
        const files = custom.files as Record<string, string>;
        delete files[Object.keys(files).find(name => name !== 'pilot.mjs')!];
      },
    },
  });

function rename(signed: Signed, from: string, to: string): void {
  for (const role of signed.delegations.roles as { paths: string[] }[]) {
    role.paths = role.paths.map(path => (path === from ? to : path));
  }
}
