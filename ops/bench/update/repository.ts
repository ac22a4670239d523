import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../../lib/clock.ts';
import { writeReproducibleTar } from '../../../lib/reproducible-tar.ts';
import { ReleaseConfig } from '../../../signing/config/schema.ts';
import { openKeyDirectory } from '../../../signing/keys/key-directory.ts';
import { passphraseSource } from '../../../signing/keys/passphrase.ts';
import { addRelease, addRuntime } from '../../../signing/release/builds/add-release.ts';
import { initRepository } from '../../../signing/release/repository/init-repository.ts';
import { promote } from '../../../signing/release/channels/promote.ts';
import { publish } from '../../../signing/release/repository/publish.ts';
import type { ReleaseContext } from '../../../signing/release/repository/repository.ts';
import { fileStorage } from '../../../signing/release/storage/file-storage.ts';
import { buildPilot } from '../../build/build-pilot.ts';

const checkout = fileURLToPath(new URL('../../..', import.meta.url));

/** Publishes this checkout's pilot with a runtime of bytes that do not compress, on the stable channel. */
export async function publishForBench(
  directory: string,
  runtimeMegabytes: number,
  arch: string,
): Promise<{ publicDirectory: string; rootFile: string }> {
  const passphrase = join(directory, 'passphrase');
  await mkdir(directory, { recursive: true });
  await writeFile(passphrase, randomBytes(24).toString('base64url'), { mode: 0o600 });
  const context: ReleaseContext = {
    storage: fileStorage(join(directory, 'repository')),
    keys: openKeyDirectory({
      directory: join(directory, 'keys'),
      clock: systemClock,
      passphrases: passphraseSource({ file: passphrase }),
      scryptN: 1024,
    }),
    clock: systemClock,
    actor: 'bench',
  };
  const made = await initRepository({ ...context, config: ReleaseConfig.parse({}) });
  const pilot = await buildPilot({ root: checkout, out: join(directory, 'builds') });
  await addRelease({ ...context, tarball: pilot.file });
  const runtime = join(directory, 'builds', `node-1.0.0-${arch}.tar.gz`);
  const content = randomBytes(runtimeMegabytes * 2 ** 20);
  await writeReproducibleTar(runtime, [{ path: 'bin/node', content, executable: true }], 1);
  await addRuntime({ ...context, tarball: runtime, version: '1.0.0', arch });
  await promote({ ...context, channel: 'stable', version: pilot.version });
  await publish(context);
  return { publicDirectory: made.publicDirectory, rootFile: made.rootFile };
}
