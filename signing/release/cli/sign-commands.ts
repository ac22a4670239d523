import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { action, collect, print } from '../../../lib/cli.ts';
import { systemClock } from '../../../lib/clock.ts';
import { libError } from '../../../lib/errors.ts';
import { readFileBounded, writeFileAtomic } from '../../../lib/files.ts';
import { keyRingOf } from '../../keys/commands.ts';
import { peoplesRoles, type Role } from '../layout.ts';
import { withRepository, type Repository } from '../repository/repository.ts';
import { MAX_METADATA_BYTES } from '../metadata/role-metadata.ts';
import { rotateKey } from '../repository/rotate-key.ts';
import { exportRequest } from '../sign/export-request.ts';
import { importRequest, type ImportedItem } from '../sign/import-request.ts';
import { dropPending, listPending, type PendingStatus } from '../sign/list-pending.ts';
import { signRequest, type SignedRequest } from '../sign/sign-request.ts';
import { readRequest, requestBytes, type SigningRequest } from '../sign/signing-request.ts';
import { byPeople, signers, withContext, type RepositoryOptions } from './options.ts';

interface SignOptions extends Omit<RepositoryOptions, 'repo'> {
  repo?: string;
  export?: string;
  import?: string[];
  list?: boolean;
  drop?: string;
  role?: string[];
  root?: string;
  out?: string;
  yes?: boolean;
}

interface RotateKeyOptions extends RepositoryOptions {
  remove?: string[];
  add?: string[];
  new: boolean;
  threshold?: string;
}

/** Mounts `release rotate-key`, and `release sign`: people sign apart, each where their key is. */
export function registerSignCommands(release: Command): void {
  byPeople(
    release,
    'rotate-key <role...>',
    'Change the keys of roles; takes effect with the next publish.\n' +
      'Without --add a new key NAME-next is made for each key that goes.',
  )
    .option('--remove <name>', 'key that goes; repeat for more (default: the only key of the role)', collect)
    .option(
      '--add <name>',
      'key that comes, as NAME.key.json or NAME.pub.json in --keys; repeat for more',
      collect,
    )
    .option('--no-new', 'make no new keys')
    .option('--threshold <number>', 'signatures that the role needs from now on')
    .action(action(runRotateKey));
  release
    .command('sign [request]')
    .description(
      'Sign what was proposed, by people who are apart.\n' +
        '  at the repository:  release sign --repo DIR --export FILE, later --import FILE\n' +
        '  where a key is:     release sign FILE --keys DIR --root PINNED.json\n' +
        'What is to be signed is verified and shown before anybody signs; the file holds no secrets.',
    )
    .option('-r, --repo <place>', 'the release repository')
    .option('--export <file>', 'write a request for all that waits (or --role) to FILE')
    .option('--import <file>', 'take the signatures of FILE over; repeat for more', collect)
    .option('--list', 'show what waits, and whose signatures it has')
    .option('--drop <role>', 'take the proposal for a role back')
    .option('--role <role>', 'only this role; repeat for more', collect)
    .option('-k, --keys <dir>', 'directory of key files; with --repo and no request: sign what waits there')
    .option('--key <name>', 'whose key signs; repeat for more (default: all that are here and may)', collect)
    .option('--passphrase-file <file>', 'first line is the passphrase; mode 0600')
    .option('--passphrase-dir <dir>', 'one passphrase file per key name; falls back to --passphrase-file')
    .option('--root <file>', 'a root that you trust: the request must come from its repository')
    .option('--out <file>', 'write the signed request here (default: over the one that was read)')
    .option('--yes', 'sign without asking; a request file only with --root')
    .action(action(runSign));
}

async function runRotateKey(options: RotateKeyOptions, words?: string): Promise<void> {
  const roles = words as unknown as string[]; // commander gives the rest of the line as a list
  refuseUnknownRoles(roles, allRoles);
  const threshold = options.threshold === undefined ? undefined : Number(options.threshold);
  if (threshold !== undefined && !(Number.isInteger(threshold) && threshold >= 1 && threshold <= 64)) {
    throw usage('--threshold is a number from 1 to 64.', 'rotate-key');
  }
  const result = await withContext(options, context =>
    rotateKey({
      ...context,
      ...signers(options),
      roles: roles as Role[],
      remove: options.remove,
      add: options.add,
      withoutNew: !options.new,
      threshold,
    }),
  );
  print(result, options, ({ roles: changed, signed, created, isStaged }) =>
    [
      ...Object.entries(changed).map(
        ([role, { keys, threshold: needed }]) => `${role}: ${needed} of ${keys.join(', ')}`,
      ),
      ...(created.length > 0 ? [`Keys made: ${created.join(', ')}.`] : []),
      `${isStaged ? 'Signed' : 'Proposed'} ${signed.map(({ role, version }) => `${role} version ${version}`).join(', ')}.` +
        (isStaged ? ' Next: release publish.' : ''),
    ].join('\n'),
  );
}

async function runSign(options: SignOptions, file?: string): Promise<void> {
  refuseUnknownRoles([...(options.role ?? []), ...(options.drop === undefined ? [] : [options.drop])]);
  const modes = [file, options.export, options.import, options.list, options.drop].filter(
    mode => mode !== undefined,
  );
  const signsHere = modes.length === 0 && options.keys !== undefined && options.repo !== undefined;
  if (modes.length !== 1 && !signsHere) {
    throw usage(
      'Say what to do, one thing at a time.',
      'sign',
      'FILE (where a key is), or with --repo one of --export, --import, --list, --drop, --keys',
    );
  }
  if (file !== undefined) return signFile(options, file);
  if (options.repo === undefined) throw usage('This is done at the repository: name it with --repo.');
  const repository = <T>(run: (repository: Repository) => Promise<T>) =>
    withContext({ ...options, repo: options.repo! }, context => withRepository(context, run));

  if (options.export !== undefined) {
    const request = await repository(opened => exportRequest(opened, { roles: options.role }));
    await writeFileAtomic(options.export, requestBytes(request));
    const roles = request.items.map(({ role }) => role);
    print(
      { file: options.export, roles },
      options,
      () => `Wrote ${options.export}: ${roles.join(', ')} to be signed.`,
    );
  } else if (options.import !== undefined) {
    const requests: [string, SigningRequest][] = [];
    for (const path of options.import) requests.push([path, await readRequest(path)]);
    const results = new Map<string, ImportedItem>();
    for (const [path, request] of requests) {
      for (const item of await repository(opened => importRequest(opened, request, path))) {
        const added = [...(results.get(item.role)?.added ?? []), ...item.added];
        results.set(item.role, { ...item, added });
      }
    }
    print([...results.values()], options, describeImport);
  } else if (options.drop !== undefined) {
    const dropped = await repository(opened => dropPending(opened, options.drop!));
    print(dropped, options, ({ role, version }) => `Took the proposal for ${role} version ${version} back.`);
  } else if (options.list) {
    print(await repository(opened => listPending(opened)), options, describePending);
  } else {
    // Not under the lock of the repository: a person may take a while to read, and to type a passphrase.
    const request = await repository(opened => exportRequest(opened, { roles: options.role }));
    const { request: signed } = await sign(options, request, options.repo);
    print(await repository(opened => importRequest(opened, signed, options.repo!)), options, describeImport);
  }
}

async function signFile(options: SignOptions, file: string): Promise<void> {
  if (options.keys === undefined) throw usage('Name the directory that holds your key with --keys.');
  if (options.yes === true && options.root === undefined)
    throw usage('Nobody is asked, so nobody compares the root: name the one that you trust with --root.');
  const out = options.out ?? file;
  const { request, items, signed } = await sign(options, await readRequest(file), file);
  if (signed.length > 0) await writeFileAtomic(out, requestBytes(request));
  print({ file: out, items, signed }, options, () =>
    signed.length > 0
      ? `Signed ${signed.map(({ role, keys }) => `${role} with ${keys.join(', ')}`).join('; ')}. Send ${out} back: release sign --repo DIR --import ${out}`
      : `Every key here had signed ${file} before; nothing was signed.`,
  );
}

const sign = async (options: SignOptions, request: SigningRequest, where: string): Promise<SignedRequest> =>
  signRequest({
    request,
    where,
    keys: keyRingOf({ ...options, keys: options.keys! }),
    nowMs: systemClock.now(),
    pinnedRoot:
      options.root === undefined ? undefined : await readFileBounded(options.root, MAX_METADATA_BYTES),
    keyNames: options.key,
    roles: options.role,
    confirm: text => confirm(text, options.yes === true),
  });

/** Shows what is to be signed on stderr, so that stdout stays the result, and asks unless the answer was given. */
async function confirm(text: string, isYes: boolean): Promise<boolean> {
  process.stderr.write(`${text}\n`);
  if (isYes) return true;
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw usage('There is nobody to ask: read what is above, and sign it with --yes.');
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question('Sign this? [y/N] ');
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    terminal.close();
  }
}

const allRoles = [...peoplesRoles, 'snapshot', 'timestamp'] as const;

function refuseUnknownRoles(roles: readonly string[], known: readonly string[] = peoplesRoles): void {
  const unknown = roles.find(role => !known.includes(role));
  if (unknown === undefined) return;
  throw libError({
    code: 'E_USAGE',
    message: `There is no role "${unknown.slice(0, 100)}" here.`,
    where: 'role',
    expected: known.join(', '),
    fix: 'Name one of these.',
  });
}

const usage = (message: string, command = 'sign', expected?: string) =>
  libError({
    code: 'E_USAGE',
    message,
    where: `release ${command}`,
    expected,
    fix: `See: pilotage release ${command} --help`,
  });

const describeImport = (items: readonly ImportedItem[]): string =>
  items
    .map(({ role, version, added, state, missing }) => {
      const what = `${role} version ${version}: ${added.length > 0 ? `new signatures of ${added.join(', ')}` : 'no new signature'}`;
      if (state === 'staged') return `${what}; enough people signed. Next: release publish.`;
      if (state === 'complete') return `${what}; it had enough before.`;
      return missing > 0
        ? `${what}; ${missing} more needed.`
        : `${what}; waits for roles that belong to it, or for its build in releases.`;
    })
    .join('\n');

const describePending = (items: readonly PendingStatus[]): string =>
  items
    .map(
      ({ role, version, expires, signedBy, missing }) =>
        `${role} version ${version}, good until ${expires}: signed by ${signedBy.join(', ') || 'nobody yet'}, ` +
        (missing > 0
          ? `${missing} more needed`
          : 'waits for roles that belong to it, or for its build in releases'),
    )
    .join('\n') || 'Nothing waits for signatures.';
