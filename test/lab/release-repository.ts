import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { create } from 'tar';
import { systemClock, type Clock } from '../../lib/clock.ts';
import { ReleaseConfig } from '../../signing/config/schema.ts';
import { openKeyDirectory } from '../../signing/keys/key-directory.ts';
import { passphraseSource } from '../../signing/keys/passphrase.ts';
import type { KeyRing } from '../../signing/keys/signer.ts';
import { addRelease, addRuntime, type AddResult } from '../../signing/release/builds/add-release.ts';
import { resignRole } from '../../signing/release/repository/amend-role.ts';
import { initRepository } from '../../signing/release/repository/init-repository.ts';
import { promote, type PromoteOptions, type PromoteResult } from '../../signing/release/channels/promote.ts';
import { publish, refresh, type PublishResult } from '../../signing/release/repository/publish.ts';
import { setQueueChannel, type QueueResult } from '../../signing/release/channels/queue-channel.ts';
import { fileStorage } from '../../signing/release/storage/file-storage.ts';
import type { Storage } from '../../signing/release/storage/storage.ts';
import {
  metadataPlace,
  readMetadata,
  type ReleaseContext,
} from '../../signing/release/repository/repository.ts';

/** Name -> content. */
type Files = Record<string, string | Uint8Array>;

/** A published release repository in a directory of a test's own. */
export interface ReleaseRepositoryLab {
  /** The repository; private but for `public/`. */
  directory: string;
  /** What a store serves: `metadata/`, `targets/`. */
  publicDirectory: string;
  keysDirectory: string;
  passphrase: string;
  /** Mode 0600, holds the passphrase of every key. */
  passphraseFile: string;
  /** Version 1 of the root, as a wrapper pins it. */
  rootJson: Buffer;
  pilotVersion: string;
  nodeVersion: string;
  arch: string;
  keys: KeyRing;
  context: ReleaseContext;
  /** Builds and adds a pilot tarball; `files` beside or instead of the small fake pilot. Not yet published. */
  addPilot(version: string, files?: Files): Promise<AddResult>;
  promote(what: PromoteOptions): Promise<PromoteResult>;
  setQueueChannel(queue: string, channel: string): Promise<QueueResult>;
  resign(
    role: 'root' | 'targets' | 'releases' | 'stable' | 'canary' | 'dev' | 'queues',
  ): Promise<{ version: number }>;
  publish(): Promise<PublishResult>;
  refresh(): Promise<PublishResult>;
}

/** A pilot that says what it was given and ends; enough for whoever only starts pilots. */
export const fakePilot =
  "process.stdout.write(JSON.stringify({ pilot: 'fake', argv: process.argv.slice(2) }) + '\\n');\n";
/** Stands for Node: runs what it is given with the Node on the PATH of the test. */
export const fakeNode = `#!/bin/sh\nexec "\${PILOTAGE_TEST_NODE:-node}" "$@"\n`;

/**
 * Makes a repository with one pilot (1.0.0) and one runtime, promoted to stable, canary and dev, every queue on stable,
 * published. Keys are cheap to unlock (scrypt N 1024, recorded in each file).
 */
export async function makeReleaseRepository(options: {
  directory: string;
  /** Where the repository is kept, default a file tree below `directory`; then `directory` of the lab means nothing. */
  storage?: Storage;
  clock?: Clock;
  config?: Record<string, unknown>;
  pilotVersion?: string;
  pilotFiles?: Files;
  nodeVersion?: string;
  arch?: string;
  /** Content of `bin/node`, default {@link fakeNode}. */
  nodeScript?: string | Uint8Array;
  /** Queue -> channel, beside the default. */
  queues?: Record<string, string>;
}): Promise<ReleaseRepositoryLab> {
  const { pilotVersion = '1.0.0', nodeVersion = '26.10.0', arch = 'linux-x64' } = options;
  const clock = options.clock ?? systemClock;
  const directory = join(options.directory, 'repository');
  const keysDirectory = join(options.directory, 'keys');
  const buildDirectory = join(options.directory, 'builds');
  const passphrase = 'correct horse battery staple';
  const passphraseFile = join(options.directory, 'passphrase');
  await mkdir(buildDirectory, { recursive: true });
  await writeFile(passphraseFile, passphrase + '\n', { mode: 0o600 });
  const keys = openKeyDirectory({
    directory: keysDirectory,
    clock,
    passphrases: passphraseSource({ file: passphraseFile }),
    scryptN: 1024,
  });
  const storage = options.storage ?? fileStorage(directory);
  const context: ReleaseContext = { storage, keys, clock, actor: 'lab' };
  const made = await initRepository({ ...context, config: ReleaseConfig.parse(options.config ?? {}) });

  const addPilot = async (version: string, files: Files = {}) => {
    const tarball = await makePilotTarball({ directory: buildDirectory, version, files });
    return addRelease({ ...context, tarball });
  };
  await addPilot(pilotVersion, options.pilotFiles);
  const runtime = await makeTarball({
    file: join(buildDirectory, `node-${nodeVersion}-${arch}.tar.gz`),
    files: { 'bin/node': options.nodeScript ?? fakeNode },
    executables: ['bin/node'],
  });
  await addRuntime({ ...context, tarball: runtime, version: nodeVersion, arch });
  for (const channel of ['dev', 'canary', 'stable'])
    await promote({ ...context, version: pilotVersion, channel });
  for (const [queue, channel] of Object.entries(options.queues ?? {})) {
    await setQueueChannel({ ...context, queue, channel });
  }
  await publish(context);
  return {
    directory,
    publicDirectory: made.publicDirectory,
    keysDirectory,
    passphrase,
    passphraseFile,
    rootJson: await readMetadata(storage, metadataPlace('root', 1)),
    pilotVersion,
    nodeVersion,
    arch,
    keys,
    context,
    addPilot,
    promote: what => promote({ ...context, ...what }),
    setQueueChannel: (queue, channel) => setQueueChannel({ ...context, queue, channel }),
    resign: role => resignRole({ ...context, role }),
    publish: () => publish(context),
    refresh: () => refresh(context),
  };
}

/** A reproducible pilot tarball; returns its path. */
export const makePilotTarball = (options: {
  directory: string;
  version: string;
  files?: Files;
}): Promise<string> =>
  makeTarball({
    file: join(options.directory, `pilot-${options.version}.tar.gz`),
    files: {
      'manifest.json': JSON.stringify({
        name: 'pilotage-pilot',
        version: options.version,
        commit: 'lab',
        builtAt: '2026-01-01T00:00:00Z',
        requires: { node: '>=24' },
      }),
      'pilot.mjs': fakePilot,
      ...options.files,
    },
  });

/** A `.tar.gz` of the given files; returns its path. */
export async function makeTarball(options: {
  file: string;
  files: Files;
  executables?: string[];
}): Promise<string> {
  const source = `${options.file}.content`;
  for (const [name, content] of Object.entries(options.files)) {
    await mkdir(dirname(join(source, name)), { recursive: true });
    await writeFile(join(source, name), content);
    await chmod(join(source, name), options.executables?.includes(name) ? 0o755 : 0o644);
  }
  const names = Object.keys(options.files).sort();
  await create({ file: options.file, cwd: source, gzip: true, portable: true, mtime: new Date(0) }, names);
  return options.file;
}
