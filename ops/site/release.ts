import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Clock } from '../../lib/clock.ts';
import { ensureDirectory, readTextBounded, writeFileAtomic } from '../../lib/files.ts';
import { ReleaseConfig } from '../../signing/config/schema.ts';
import { openKeyDirectory } from '../../signing/keys/key-directory.ts';
import { passphraseSource } from '../../signing/keys/passphrase.ts';
import { addRelease, addRuntime } from '../../signing/release/builds/add-release.ts';
import type { AddResult } from '../../signing/release/builds/add-release.ts';
import { initRepository } from '../../signing/release/repository/init-repository.ts';
import { places } from '../../signing/release/layout.ts';
import { promote } from '../../signing/release/channels/promote.ts';
import { publish } from '../../signing/release/repository/publish.ts';
import { metadataPlace } from '../../signing/release/repository/repository.ts';
import type { ReleaseContext } from '../../signing/release/repository/repository.ts';
import { fileStorage } from '../../signing/release/storage/file-storage.ts';
import { allKeyNames } from '../../signing/release/repository/role-keys.ts';
import { PilotageError } from '../../lib/errors.ts';
import { buildPilot } from '../build/build-pilot.ts';
import type { BuiltPilot } from '../build/build-pilot.ts';
import { packRuntime } from '../build/pack-runtime.ts';
import type { SiteLayout } from './layout.ts';

const checkout = fileURLToPath(new URL('../..', import.meta.url));
/** Where builds of this checkout are kept between runs. */
export const buildDirectory = join(checkout, 'build');

export interface SiteRelease {
  publicDirectory: string;
  /** The pinned root, as JSON text. */
  rootFile: string;
  version: string;
  /** sha256 of the pilot tarball. */
  sha256: string;
}

/** The release tools of a site whose keys all lie on this machine, each under a passphrase file of its own. */
export function releaseContext(
  site: SiteLayout,
  clock: Clock,
  onStep?: (step: string) => void,
): ReleaseContext {
  return {
    storage: fileStorage(site.repository),
    keys: openKeyDirectory({
      directory: site.keys,
      clock,
      passphrases: passphraseSource({ directory: site.passphrases }),
    }),
    clock,
    actor: 'site',
    onStep,
  };
}

/**
 * Publishes this checkout's own pilot as a signed release of the site: first canary, then stable. A site that has one
 * already gets a new version only when the pilot's bytes have changed.
 */
export async function publishOwnPilot(options: {
  site: SiteLayout;
  clock: Clock;
  buildDirectory: string;
  onStep?: (step: string) => void;
}): Promise<SiteRelease> {
  const { site, clock, buildDirectory, onStep } = options;
  const context = releaseContext(site, clock, onStep);
  const { storage } = context;
  if (!(await storage.read(places.state, 1 << 20))) {
    const config = ReleaseConfig.parse({});
    await writePassphrases(site.passphrases, allKeyNames(config));
    await initRepository({ ...context, config });
  }
  onStep?.('pack the Node runtime');
  const runtime = await packRuntime({ root: checkout, out: buildDirectory });
  onStep?.('build the pilot');
  const pilot = await buildPilot({ root: checkout, out: buildDirectory });
  await addRuntime({
    ...context,
    tarball: runtime.file,
    version: runtime.version,
    arch: runtime.architecture,
  });
  const added = await addNewest(context, pilot, buildDirectory);
  await promote({ ...context, channel: 'canary', version: added.version });
  await promote({ ...context, channel: 'stable', fromChannel: 'canary' });
  await publish(context);
  return {
    publicDirectory: storage.where(places.public),
    rootFile: storage.where(metadataPlace('root', 1)),
    version: added.version,
    sha256: added.sha256,
  };
}

/** Adds the pilot; when this version was published with other bytes, as the same version with a mark of its bytes. */
async function addNewest(context: ReleaseContext, pilot: BuiltPilot, out: string): Promise<AddResult> {
  try {
    return await addRelease({ ...context, tarball: pilot.file });
  } catch (error) {
    if (!(error instanceof PilotageError) || error.code !== 'E_VERSION_EXISTS') throw error;
    const version = `${pilot.version}-${pilot.sha256.slice(0, 8)}`;
    const marked = await buildPilot({ root: checkout, out, version });
    return addRelease({ ...context, tarball: marked.file });
  }
}

async function writePassphrases(directory: string, keyNames: readonly string[]): Promise<void> {
  await ensureDirectory(directory, 0o700);
  for (const name of keyNames) {
    const file = join(directory, name);
    if (existsSync(file)) {
      await readTextBounded(file, 1000);
      continue;
    }
    await writeFileAtomic(file, randomBytes(24).toString('base64url') + '\n', { mode: 0o600 });
  }
}
