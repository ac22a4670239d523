import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { TargetFile } from '@tufjs/models';
import type { Clock } from '../../lib/clock.ts';
import type { Logger } from '../../lib/log.ts';
import { signingError } from '../../signing/errors.ts';
import type { Artefact } from '../../signing/release/verify-pointer.ts';
import { checkTarget } from '../../signing/release/target-files.ts';
import { hashedTargetPath } from '../../signing/release/layout.ts';
import { BuildCustom } from './choose-release.ts';
import { urlOf } from './download.ts';
import type { Downloads, Source } from './download.ts';
import { withNodeLock } from './node-lock.ts';
import { placeDirectory } from './node-store.ts';
import type { NodeStore } from './node-store.ts';
import { firstDamaged, unpack } from './unpack.ts';

export interface InstallOptions {
  store: NodeStore;
  source: Source;
  downloads: Downloads;
  clock: Clock;
  log: Logger;
  signal: AbortSignal | undefined;
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
  archive: string;
}

/**
 * Leaves every build unpacked and whole in the node's store: what lies there is hashed again file by file; what is
 * missing is fetched by one process for the whole node. All archives are verified before any is unpacked.
 *
 * @returns the directories, in the order of the builds. @throws E_TARGET_HASH, E_TARGET_LENGTH, E_CACHE_UNREACHABLE,
 *   E_ARCHIVE_UNSAFE, E_STORE_LOCKED.
 */
export async function install(options: InstallOptions, builds: Build[]): Promise<string[]> {
  const { store, clock, signal } = options;
  const planned = builds.map(build => plan(options, build));
  const directories = planned.map(({ directory }) => directory);
  if ((await missing(planned)).length === 0) return directories;
  await withNodeLock({ storeDirectory: store.directory, clock, signal }, async () => {
    const wanted = await missing(planned);
    try {
      for (const build of wanted) await fetchArchive(options, build);
      for (const build of wanted) await unpackArchive(options, build);
      for (const { work, directory } of wanted) await placeDirectory(work, directory);
    } finally {
      for (const { work, archive } of wanted) {
        await rm(archive, { force: true });
        await rm(work, { recursive: true, force: true });
      }
    }
  });
  return directories;
}

function plan({ store, source }: InstallOptions, { artefact, target }: Build): Planned {
  const work = join(store.directory, `tmp.${process.pid}.${randomBytes(6).toString('hex')}`);
  const directory = join(store.unpackedDirectory, artefact.sha256);
  const where = urlOf(source, `targets/${hashedTargetPath(artefact.path, artefact.sha256)}`);
  return { artefact, target, files: signedFiles(target, where), directory, work, archive: `${work}.tar.gz` };
}

async function missing(planned: Planned[]): Promise<Planned[]> {
  const damaged = await Promise.all(
    planned.map(({ directory, files }) => firstDamaged(directory, files).catch(() => 'no directory')),
  );
  return planned.filter((_build, index) => damaged[index] !== undefined);
}

async function fetchArchive({ downloads, source }: InstallOptions, build: Planned): Promise<void> {
  const path = `targets/${hashedTargetPath(build.artefact.path, build.artefact.sha256)}`;
  const got = await downloads.file(source, path, build.target.length, build.archive);
  checkTarget(urlOf(source, path), build.target, got.bytes, got.sha256);
}

async function unpackArchive({ source, log }: InstallOptions, build: Planned): Promise<void> {
  const { archive, work, files, artefact } = build;
  const where = urlOf(source, `targets/${hashedTargetPath(artefact.path, artefact.sha256)}`);
  await unpack({ archive, directory: work, files, where });
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
