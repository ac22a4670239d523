import { signingError } from '../../errors.ts';
import { amendRole, watchProposals } from '../repository/amend-role.ts';
import { placeAttachments } from './attachments.ts';
import { readEventLog } from '../repository/event-log.ts';
import { withIncoming, type Incoming } from './incoming-file.ts';
import {
  inspectTarball,
  invalidTarball,
  pilotLimits,
  runtimeLimits,
  type TarballContents,
} from './inspect-tarball.ts';
import { pilotTarget, runtimeTarget, targetPlace } from '../layout.ts';
import { architecture, checked, parseManifest, releaseVersion } from './pilot-manifest.ts';
import { withRepository, type ReleaseContext, type Repository } from '../repository/repository.ts';
import { targetFile } from '../metadata/role-metadata.ts';

export interface AddResult {
  version: string;
  /** Target path. */
  path: string;
  sha256: string;
  bytes: number;
  /** Git commit, or `unknown`; null for a runtime. */
  commit: string | null;
  /** Target paths of files that were newly signed beside it. */
  attached: string[];
  /** False: the same bytes were already there under this version. */
  added: boolean;
  /** Version of the `releases` role that names it. */
  releases: number;
  /** True: that version waits for more signatures. */
  proposed: boolean;
}

/** Where a build came from, when that is known better than its manifest can tell. */
export interface Provenance {
  commit: string;
  tag: string;
  /** `user@host`. */
  builder: string;
  builtAt: string;
}

/**
 * Takes a pilot tarball into the `releases` role; staged until the next publish.
 *
 * @param context.tarball holds `pilot.mjs` and `manifest.json` with name and version.
 * @param context.attach files to sign beside it: SBOM, provenance.
 * @throws E_TARBALL_INVALID, E_VERSION_EXISTS (same version, other bytes or another commit), E_VERSION_REVOKED,
 * E_FILE_MISSING, E_THRESHOLD_NOT_MET and what unlocking keys throws.
 */
export const addRelease = (
  context: ReleaseContext & {
    tarball: string;
    attach?: readonly string[];
    provenance?: Provenance;
    keyNames?: readonly string[];
  },
): Promise<AddResult> =>
  withRepository(context, repository =>
    withIncoming(repository.storage, context.tarball, pilotLimits, async incoming => {
      const contents = await inspectTarball({
        file: incoming.file,
        source: context.tarball,
        limits: pilotLimits,
        keep: ['manifest.json'],
      });
      requireFiles(contents, ['pilot.mjs', 'manifest.json'], context.tarball);
      const manifest = parseManifest(contents.kept.get('manifest.json'), context.tarball);
      const { version, commit, builtAt, requires } = manifest;
      await refuseRevoked(repository, version);
      return addBuild(repository, incoming, {
        action: 'add',
        version,
        path: pilotTarget(version),
        custom: { version, commit, builtAt, requires, ...context.provenance, ...describe(contents) },
        attach: context.attach ?? [],
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
    return withIncoming(repository.storage, context.tarball, runtimeLimits, async incoming => {
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
        attach: [],
        keyNames: context.keyNames,
      });
    });
  });

const describe = (contents: TarballContents) => ({
  unpackedSize: contents.unpackedBytes,
  files: contents.files,
});

interface NewBuild {
  action: string;
  version: string;
  path: string;
  custom: Record<string, unknown> & { commit?: string };
  attach: readonly string[];
  keyNames: readonly string[] | undefined;
}

async function addBuild(repository: Repository, incoming: Incoming, build: NewBuild): Promise<AddResult> {
  const { storage } = repository;
  const { signed } = repository.roles.releases.metadata;
  const { sha256, bytes } = incoming;
  const known = signed.targets[build.path];
  const commit = build.custom.commit ?? null;
  if (known && known.hashes.sha256 !== sha256) {
    throw exists(build, `sha256 ${known.hashes.sha256}`, `sha256 ${sha256}`);
  }
  const from = [commit, known?.custom.commit ?? commit].map(String);
  if (from[0] !== from[1] && !from.includes('unknown')) {
    throw exists(build, `commit ${from[1]}`, `commit ${from[0]}`);
  }
  const target = targetFile({ path: build.path, length: bytes, sha256, custom: build.custom });
  if (!known) {
    repository.context.onStep?.(`store ${build.path}`);
    await storage.createFrom(targetPlace(target), incoming.file);
  }
  const attached = await placeAttachments(storage, build.version, build.attach, signed.targets);
  const changed = [...(known ? [] : [target]), ...attached];
  const result = {
    version: build.version,
    path: build.path,
    sha256,
    bytes,
    commit,
    attached: attached.map(({ path }) => path),
    added: !known,
  };
  if (changed.length === 0) return { ...result, releases: signed.version, proposed: false };
  const details = {
    target: build.path,
    targetSha256: sha256,
    ...(commit === null ? {} : { commit }),
    ...(attached.length === 0 ? {} : { attached: attached.length }),
  };
  const event = { action: known ? 'attach' : build.action, details };
  const watched = watchProposals(repository);
  const releases = await amendRole(watched.repository, 'releases', changed, event, build.keyNames);
  return { ...result, releases, proposed: watched.isProposed() };
}

const exists = (build: NewBuild, expected: string, found: string) =>
  signingError({
    code: 'E_VERSION_EXISTS',
    message: `Version ${build.version} is already signed ${expected.startsWith('commit') ? 'from another commit' : 'with other bytes'}.`,
    where: build.path,
    expected,
    found,
    rule: 'a version names the same bytes for ever',
    fix: 'Give the new build a new version.',
  });

/** By the log, which forgets nothing: bytes of a withdrawn version may be on any node still. */
async function refuseRevoked(repository: Repository, version: string): Promise<void> {
  if (repository.roles.releases.metadata.signed.targets[pilotTarget(version)]) return;
  const { entries } = await readEventLog(repository.storage, repository.anchor);
  const entry = entries.find(({ role, details }) => role === 'releases' && details.revoked === version);
  if (!entry) return;
  throw signingError({
    code: 'E_VERSION_REVOKED',
    message: `Version ${version} was withdrawn on ${entry.at} by ${entry.by}.`,
    where: pilotTarget(version),
    rule: 'a withdrawn version does not come back',
    fix: 'Give the new build a new version.',
  });
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
