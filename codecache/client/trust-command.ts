import type { Command } from 'commander';
import { action, print } from '../../lib/cli.ts';
import { readFileBounded } from '../../lib/files.ts';
import { createLog } from '../../lib/log.ts';
import { TRUST_TARGET } from '../../signing/release/layout.ts';
import { unknownTarget } from '../../signing/release/metadata/verify-pointer.ts';
import { installAnchors } from '../../signing/trust/install-anchors.ts';
import { collectGroups } from './commands.ts';
import { fetchTarget } from './fetch-target.ts';

interface TrustFetchFlags {
  json?: boolean;
  root: string;
  cache: string[];
  store: string;
  dir: string;
  queue: string;
}

/** Adds `pilotage trust fetch`: the signed bundle, verified and installed, as the pilot does it on a bare node. */
export function registerTrustFetch(trust: Command): void {
  trust
    .command('fetch')
    .description('Fetch the signed bundle through the caches, verify it, and install it at once and whole.')
    .requiredOption('--root <file>', 'pinned root: metadata/1.root.json of the repository')
    .requiredOption(
      '--cache <urls>',
      "cache or origin, or a group 'http://a|http://b'; repeat for more",
      collectGroups,
    )
    .requiredOption('--store <directory>', 'node-local store, mode 0700; made when missing')
    .requiredOption('--dir <dir>', 'where to install; programs read DIR/current/certificates')
    .option('--queue <name>', 'queue whose channel is looked at on the way', 'default')
    .action(action(runTrustFetch));
}

async function runTrustFetch(options: TrustFetchFlags): Promise<void> {
  const fetched = await fetchTarget({
    trustedRoot: await readFileBounded(options.root),
    storeDirectory: options.store,
    caches: options.cache,
    queue: options.queue,
    path: TRUST_TARGET,
    log: createLog('trust-fetch'),
  });
  if (fetched === null) throw unknownTarget(TRUST_TARGET, options.cache.join(' '));
  const { sha256, directory, cache } = fetched;
  const installed = await installAnchors({ from: directory, to: options.dir, id: sha256 });
  print({ ...installed, sha256, cache }, options, ({ certificates, vomsdir }) =>
    [`export X509_CERT_DIR=${certificates}`, `export X509_VOMS_DIR=${vomsdir}`].join('\n'),
  );
}
