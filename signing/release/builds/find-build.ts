import { signingError } from '../../errors.ts';
import type { Build } from '../channels/channel-pointer.ts';
import { compareVersions } from '../channels/compare-versions.ts';
import { pilotTarget } from '../layout.ts';
import type { Repository } from '../repository/repository.ts';

/**
 * A pilot and runtimes as the `releases` role signed them; only from there does a hash enter a pointer.
 *
 * @param options.runtimeVersion which Node runtime; without it the newest of each architecture.
 * @param options.runtimes takes these, of another build, in place of looking for any.
 * @throws E_VERSION_UNKNOWN.
 */
export function buildNamed(
  repository: Repository,
  version: string,
  options: { runtimeVersion?: string | undefined; runtimes?: Build['runtimes'] } = {},
): Build {
  const { targets } = repository.roles.releases.metadata.signed;
  const pilot = targets[pilotTarget(version)];
  if (!pilot) {
    throw unknownVersion(
      `There is no release ${version.slice(0, 100)}.`,
      version,
      releasedVersions(repository),
      'release add TARBALL',
    );
  }
  const runtimes = options.runtimes ?? runtimesNamed(repository, options.runtimeVersion);
  return { version, pilot: { path: pilot.path, sha256: pilot.hashes.sha256!, version }, runtimes };
}

/** Versions of the pilots that `releases` signs, in the order of their numbers. */
export const releasedVersions = (repository: Repository): string[] =>
  Object.keys(repository.roles.releases.metadata.signed.targets)
    .flatMap(path => {
      const version = /^pilot\/([^/]+)\//.exec(path)?.[1];
      return version !== undefined && path === pilotTarget(version) ? [version] : [];
    })
    .sort(compareVersions);

function runtimesNamed(repository: Repository, wanted: string | undefined): Build['runtimes'] {
  const runtimes: Build['runtimes'] = {};
  const seen = new Set<string>();
  for (const [path, target] of Object.entries(repository.roles.releases.metadata.signed.targets)) {
    const match = /^runtime\/([^/]+)\/node-\1-(linux-[a-z0-9]+)\.tar\.gz$/.exec(path);
    if (!match) continue;
    const [, found, arch] = match as unknown as [string, string, string];
    seen.add(found);
    if (wanted !== undefined && found !== wanted) continue;
    const other = runtimes[arch];
    if (other && compareVersions(other.version, found) >= 0) continue;
    runtimes[arch] = { path, sha256: target.hashes.sha256!, version: found };
  }
  if (Object.keys(runtimes).length > 0) return runtimes;
  throw unknownVersion(
    `There is no Node runtime${wanted === undefined ? '' : ` ${wanted}`} in the repository.`,
    wanted ?? 'none',
    [...seen],
    'release runtime TARBALL --node-version V --arch A',
  );
}

const unknownVersion = (message: string, found: string, known: string[], command: string) =>
  signingError({
    code: 'E_VERSION_UNKNOWN',
    message,
    where: 'role releases',
    expected: known.length ? `one of ${known.slice(-20).join(', ')}` : undefined,
    found: known.length ? found.slice(0, 100) : 'none at all',
    fix: `Add it first: pilotage ${command}`,
  });
