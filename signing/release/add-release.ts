import { randomBytes } from 'node:crypto';
import { copyFile, open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { fromSystemError } from '../../lib/errors.ts';
import { signingError } from '../errors.ts';
import { amendRole } from './amend-role.ts';
import {
  inspectTarball,
  invalidTarball,
  pilotLimits,
  runtimeLimits,
  type TarballContents,
  type TarballLimits,
} from './inspect-tarball.ts';
import { pilotTarget, runtimeTarget, targetPlace } from './layout.ts';
import { withRepository, type ReleaseContext, type Repository } from './repository.ts';
import { targetFile } from './role-metadata.ts';
import { hashFile } from './target-files.ts';

export interface AddResult {
  version: string;
  /** Target path. */
  path: string;
  sha256: string;
  bytes: number;
  /** False: the same bytes were already there under this version. */
  added: boolean;
  /** Version of the `releases` role that names it. */
  releases: number;
}

const plain = z.string().regex(/^[ !#-[\]-~]{0,200}$/, 'plain ASCII without quotes, at most 200 characters');
/** Starts with a digit, so that no version can be taken for a channel; no `..` in the paths made of it. */
export const releaseVersion = z
  .string()
  .regex(
    /^(?!.*\.(\.|$))[0-9][A-Za-z0-9._-]{0,63}$/,
    'a version: a digit, then letters, digits, dot (one at a time, not last), underscore, hyphen',
  );
export const architecture = z.string().regex(/^linux-[a-z0-9]{2,16}$/, 'an architecture such as linux-x64');

/** `manifest.json` inside a pilot tarball; other fields are ignored. */
export const PilotManifest = z.object({
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/),
  version: releaseVersion,
  commit: plain.default('unknown'),
  builtAt: z.union([plain, z.int().min(0)]).default('unknown'),
  requires: z.record(z.string().regex(/^[A-Za-z0-9._-]{1,64}$/), plain).default({}),
});
export type PilotManifest = z.output<typeof PilotManifest>;

/**
 * Takes a pilot tarball into the `releases` role; staged until the next publish.
 *
 * @param context.tarball holds `pilot.mjs` and `manifest.json` with name and version.
 * @throws E_TARBALL_INVALID, E_VERSION_EXISTS (same version, other bytes), E_FILE_MISSING, E_THRESHOLD_NOT_MET and what
 * unlocking keys throws.
 */
export const addRelease = (
  context: ReleaseContext & { tarball: string; keyNames?: readonly string[] },
): Promise<AddResult> =>
  withRepository(context, repository =>
    withIncoming(repository, context.tarball, pilotLimits, async incoming => {
      const contents = await inspectTarball({
        file: incoming.file,
        source: context.tarball,
        limits: pilotLimits,
        keep: ['manifest.json'],
      });
      requireFiles(contents, ['pilot.mjs', 'manifest.json'], context.tarball);
      const manifest = parseManifest(contents.kept.get('manifest.json'), context.tarball);
      const { version, commit, builtAt, requires } = manifest;
      return addBuild(repository, incoming, {
        action: 'add',
        version,
        path: pilotTarget(version),
        custom: { version, commit, builtAt, requires, ...describe(contents) },
        keyNames: context.keyNames,
      });
    }),
  );

/**
 * Takes a Node runtime (`bin/node` inside) for one architecture into the `releases` role.
 *
 * @param context.version of Node, `26.10.0`.
 * @param context.arch `linux-x64`.
 * @throws E_VERSION_INVALID and as {@link addRelease}.
 */
export const addRuntime = (
  context: ReleaseContext & { tarball: string; version: string; arch: string; keyNames?: readonly string[] },
): Promise<AddResult> =>
  withRepository(context, repository => {
    const version = checked(releaseVersion, context.version, 'version');
    const arch = checked(architecture, context.arch, 'architecture');
    return withIncoming(repository, context.tarball, runtimeLimits, async incoming => {
      const contents = await inspectTarball({
        file: incoming.file,
        source: context.tarball,
        limits: runtimeLimits,
      });
      requireFiles(contents, ['bin/node'], context.tarball);
      if (!contents.executables.has('bin/node')) {
        throw invalidTarball(context.tarball, 'The file bin/node is not executable.', {
          expected: 'mode 0755',
        });
      }
      return addBuild(repository, incoming, {
        action: 'runtime',
        version,
        path: runtimeTarget(version, arch),
        custom: { version, arch, requires: { arch }, ...describe(contents) },
        keyNames: context.keyNames,
      });
    });
  });

const describe = (contents: TarballContents) => ({
  unpackedSize: contents.unpackedBytes,
  files: contents.files,
});

interface Incoming {
  file: string;
  sha256: string;
  bytes: number;
}

/** Copies the tarball first, so that the bytes that are inspected are the bytes that are signed. */
async function withIncoming<T>(
  repository: Repository,
  tarball: string,
  limits: TarballLimits,
  run: (incoming: Incoming) => Promise<T>,
): Promise<T> {
  const file = join(await repository.storage.workDirectory(), `${randomBytes(8).toString('hex')}.tar.gz`);
  try {
    await copyBounded(tarball, file, limits);
    const hashed = await hashFile(file);
    return await run({ file, ...hashed });
  } finally {
    await rm(file, { force: true });
  }
}

async function copyBounded(from: string, to: string, limits: TarballLimits): Promise<void> {
  try {
    const info = await stat(from);
    if (!info.isFile()) throw invalidTarball(from, 'It is not a regular file.');
    if (info.size > limits.maxBytes) {
      throw invalidTarball(from, 'The tarball is too large.', {
        expected: `at most ${limits.maxBytes} bytes`,
        found: `${info.size} bytes`,
      });
    }
    await copyFile(from, to);
    const handle = await open(to, 'r+');
    try {
      await handle.chmod(0o644);
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw (error as NodeJS.ErrnoException).syscall ? fromSystemError(error, from) : error;
  }
}

async function addBuild(
  repository: Repository,
  incoming: Incoming,
  build: {
    action: string;
    version: string;
    path: string;
    custom: Record<string, unknown>;
    keyNames: readonly string[] | undefined;
  },
): Promise<AddResult> {
  const { signed } = repository.roles.releases.metadata;
  const { sha256, bytes } = incoming;
  const known = signed.targets[build.path];
  const result = { version: build.version, path: build.path, sha256, bytes };
  if (known?.hashes.sha256 === sha256) return { ...result, added: false, releases: signed.version };
  if (known) {
    throw signingError({
      code: 'E_VERSION_EXISTS',
      message: `Version ${build.version} is already signed with other bytes.`,
      where: build.path,
      expected: `sha256 ${known.hashes.sha256}`,
      found: `sha256 ${sha256}`,
      rule: 'a version names the same bytes for ever',
      fix: 'Give the new build a new version.',
    });
  }
  const target = targetFile({ path: build.path, length: bytes, sha256, custom: build.custom });
  repository.context.onStep?.(`store ${build.path}`);
  await repository.storage.createFrom(targetPlace(target), incoming.file);
  const releases = await amendRole(
    repository,
    'releases',
    [target],
    { action: build.action, details: { target: build.path, targetSha256: sha256 } },
    build.keyNames,
  );
  return { ...result, added: true, releases };
}

function requireFiles(contents: TarballContents, names: string[], tarball: string): void {
  for (const name of names) {
    if (contents.files[name] !== undefined) continue;
    throw invalidTarball(tarball, `There is no ${name} in it.`, {
      expected: names.join(', '),
      found: Object.keys(contents.files).slice(0, 10).join(', ') || 'no files',
    });
  }
}

function parseManifest(bytes: Buffer | undefined, tarball: string): PilotManifest {
  let value: unknown;
  try {
    value = JSON.parse((bytes ?? Buffer.alloc(0)).toString('utf8'));
  } catch {
    throw invalidTarball(tarball, 'Its manifest.json is not JSON.');
  }
  const parsed = PilotManifest.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw invalidTarball(tarball, `Its manifest.json is not valid: ${issue.path.join('.')}: ${issue.message}.`);
}

function checked(schema: z.ZodType<string>, value: string, what: string): string {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw signingError({
    code: 'E_VERSION_INVALID',
    message: `This is not a valid ${what}.`,
    where: what,
    expected: parsed.error.issues[0]!.message,
    found: value.slice(0, 100),
    fix: 'Correct the value.',
  });
}
