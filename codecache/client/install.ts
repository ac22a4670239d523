import { randomBytes } from 'node:crypto';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { TargetFile } from '@tufjs/models';
import type { Clock } from '../../lib/clock.ts';
import { PilotageError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { signingError } from '../../signing/errors.ts';
import { hashedTargetPath } from '../../signing/release/layout.ts';
import { checkTarget } from '../../signing/release/repository/target-files.ts';
import type { Artefact } from '../../signing/release/metadata/verify-pointer.ts';
import { BuildCustom } from './choose-release.ts';
import type { Downloads, Source } from './download.ts';
import { takeNodeLock } from './node-lock.ts';
import { noteUse, placeDirectory } from './node-store.ts';
import type { NodeStore } from './node-store.ts';
import { pruneStore } from './prune-store.ts';
import { firstDamaged, unpack } from './unpack.ts';
import { urlOf } from './way.ts';

export interface InstallOptions {
  store: NodeStore;
  source: Source;
  downloads: Downloads;
  clock: Clock;
  log: Logger;
  signal: AbortSignal | undefined;
  /** Quota of the store; releases in use are kept beyond it. */
  maxStoreBytes: number;
}

/** An artefact that pointer and `releases` agree on. */
export interface Build {
  artefact: Artefact;
  target: TargetFile;
}

interface Planned extends Build {
  files: Record<string, string>;
  /** Where it lies once it is whole. */
  directory: string;
  /** Where it is made. */
  work: string;
  /** Where its archive is fetched to; kept when the download is cut, for whoever goes on. */
  part: string;
}

/** Times that others may install while this one waits for its turn; then it looks with the lock in its hand. */
const MAX_TURNS = 8;

/**
 * Leaves every build unpacked and whole in the node's store: what lies there is hashed again file by file; what is
 * missing is fetched by one process for the whole node, from where an earlier one left off. All archives are verified
 * before any is unpacked.
 *
 * @returns the directories, in the order of the builds, and whether any was fetched. @throws E_TARGET_HASH, E_TARGET_LENGTH, E_CACHE_UNREACHABLE,
 *   E_CACHE_ENCODING, E_ARCHIVE_UNSAFE, E_STORE_LOCKED, E_DISK_FULL.
 */
export async function install(
  options: InstallOptions,
  builds: Build[],
): Promise<{ directories: string[]; fetched: boolean }> {
  const { store, clock, signal } = options;
  const planned = builds.map(build => plan(options, build));
  let fetched = false;
  for (let turn = 1; ; turn += 1) {
    // Before they are looked at: what is put in place after this is another one.
    const seen = await placesOf(planned);
    const wanted = await missing(planned);
    if (wanted.length === 0) break;
    const lock = await takeNodeLock({ storeDirectory: store.directory, clock, signal });
    try {
      // Somebody put them there meanwhile: that is hashed without keeping the others waiting.
      if (turn < MAX_TURNS && (await placesOf(planned)) !== seen) continue;
      await bringWithRoom(options, wanted);
      fetched = true;
      await makeRoom(options);
      break;
    } finally {
      await lock.release();
    }
  }
  return { directories: await used(planned), fetched };
}

/** On a full disk everything that nobody needs goes, and then once more. */
async function bringWithRoom(options: InstallOptions, wanted: Planned[]): Promise<void> {
  try {
    await bring(options, wanted);
  } catch (error) {
    if (!(error instanceof PilotageError) || error.code !== 'E_DISK_FULL') throw error;
    if ((await makeRoom({ ...options, maxStoreBytes: 0 })) === 0) throw error;
    await bring(options, wanted);
  }
}

/** A store that cannot be tidied is no reason not to start. @returns how many things were removed. */
async function makeRoom({ store, maxStoreBytes, clock, log }: InstallOptions): Promise<number> {
  try {
    const options = { directory: store.directory, maxBytes: maxStoreBytes, clock, log };
    return (await pruneStore(options)).removed.length;
  } catch (error) {
    log.warn({ err: error }, 'could not make room in the node store');
    return 0;
  }
}

/** As {@link install} without fetching: undefined when any build is not here whole. */
export async function installed(
  options: Pick<InstallOptions, 'store' | 'source'>,
  builds: Build[],
): Promise<string[] | undefined> {
  const planned = builds.map(build => plan(options, build));
  return (await missing(planned)).length === 0 ? used(planned) : undefined;
}

async function used(planned: Planned[]): Promise<string[]> {
  const directories = planned.map(({ directory }) => directory);
  await Promise.all(directories.map(noteUse));
  return directories;
}

async function bring(options: InstallOptions, wanted: Planned[]): Promise<void> {
  try {
    for (const build of wanted) await keepIfCut(options, build, () => fetchArchive(options, build));
    for (const build of wanted) await keepIfCut(options, build, () => unpackArchive(options, build));
    for (const { work, directory, part } of wanted) {
      await placeDirectory(work, directory);
      await rm(part, { force: true });
    }
  } finally {
    for (const { work } of wanted) await rm(work, { recursive: true, force: true });
  }
}

/** What came of an archive is kept for whoever goes on when the download was cut, and only then. */
async function keepIfCut(
  { signal }: InstallOptions,
  { part }: Planned,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (signal?.aborted !== true && !isUnreachable(error)) await rm(part, { force: true });
    throw error;
  }
}

const isUnreachable = (error: unknown): boolean =>
  error instanceof PilotageError && error.code === 'E_CACHE_UNREACHABLE';

function plan(
  { store, source }: Pick<InstallOptions, 'store' | 'source'>,
  { artefact, target }: Build,
): Planned {
  const where = urlOf(source, targetPath(artefact));
  return {
    artefact,
    target,
    files: signedFiles(target, where),
    directory: join(store.unpackedDirectory, artefact.sha256),
    work: join(store.directory, `tmp.${process.pid}.${randomBytes(6).toString('hex')}`),
    part: join(store.objectsDirectory, `${artefact.sha256}.part`),
  };
}

const targetPath = ({ path, sha256 }: Artefact): string => `targets/${hashedTargetPath(path, sha256)}`;

async function missing(planned: Planned[]): Promise<Planned[]> {
  const damaged = await Promise.all(
    planned.map(({ directory, files }) => firstDamaged(directory, files).catch(() => 'no directory')),
  );
  return planned.filter((_build, index) => damaged[index] !== undefined);
}

/** Which directories are there: one that was put in place is another one. */
const placesOf = async (builds: Planned[]): Promise<string> =>
  (
    await Promise.all(
      builds.map(({ directory }) =>
        stat(directory).then(
          ({ ino }) => ino,
          () => 0,
        ),
      ),
    )
  ).join();

/** A beginning that came from elsewhere may be what is wrong: then it is fetched whole before this cache is blamed. */
async function fetchArchive({ downloads, source, log }: InstallOptions, build: Planned): Promise<void> {
  const { artefact, target, part } = build;
  const path = targetPath(artefact);
  let got = await downloads.file(source, path, target.length, part);
  if (got.kept > 0 && got.sha256 !== artefact.sha256) {
    log.warn({ artefact: artefact.path, kept: got.kept }, 'what was kept of a download is not its beginning');
    await rm(part, { force: true });
    got = await downloads.file(source, path, target.length, part);
  }
  checkTarget(urlOf(source, path), target, got.bytes, got.sha256);
}

async function unpackArchive({ source, log }: InstallOptions, build: Planned): Promise<void> {
  const { part, work, files, artefact } = build;
  await unpack({ archive: part, directory: work, files, where: urlOf(source, targetPath(artefact)) });
  log.info({ artefact: artefact.path, sha256: artefact.sha256, cache: source.cache }, 'unpacked');
}

function signedFiles(target: TargetFile, where: string): Record<string, string> {
  const custom = BuildCustom.safeParse(target.custom);
  if (custom.success && Object.keys(custom.data.files).length > 0) return custom.data.files;
  throw signingError({
    code: 'E_TUF_FORMAT',
    message: `The signed description of ${target.path} lists no files.`,
    where,
    expected: 'custom.files: path -> sha256',
    fix: 'Add the release again with this version of "pilotage release add".',
  });
}
