import { createPublicKey } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { action, collect, print } from '../../lib/cli.ts';
import { systemClock } from '../../lib/clock.ts';
import { libError } from '../../lib/errors.ts';
import { ensureDirectory, readTextBounded, writeFileAtomic } from '../../lib/files.ts';
import { signingError } from '../errors.ts';
import { changePassphrase } from './encrypted-key.ts';
import { createExternalKey } from './external-signer.ts';
import { keyFilePath, openKeyDirectory, publicFileName } from './key-directory.ts';
import { KeyName, readKeyFile, SignerCommand, type PublicKeyFile } from './key-file.ts';
import {
  BARE_NODE_SCHEME,
  keySchemes,
  publicParts,
  type KeyScheme,
  type PublicKeyParts,
} from './key-scheme.ts';
import { passphraseSource, type PassphraseSource } from './passphrase.ts';
import type { KeyRing, KnownKey } from './signer.ts';

/** Options of every command that takes keys from a directory. */
export interface KeyOptions {
  json?: boolean;
  keys: string;
  passphraseFile?: string;
  passphraseDir?: string;
}

interface NewKeyOptions extends KeyOptions {
  scheme?: KeyScheme;
  public?: string;
  encoding?: string;
  timeout?: string;
  env?: string[];
}

const hasTerminal = () => process.stdin.isTTY && process.stderr.isTTY;

/** Where passphrases come from for a command line: directory, file, environment's file, terminal. */
export const passphrasesOf = (options: Omit<KeyOptions, 'keys'>): PassphraseSource =>
  passphraseSource({
    directory: options.passphraseDir,
    file: options.passphraseFile ?? process.env.PILOTAGE_PASSPHRASE_FILE,
    terminal: hasTerminal() ? { input: process.stdin, output: process.stderr } : undefined,
  });

/** The key directory that a command line names. */
export const keyRingOf = (options: KeyOptions, scryptN?: number): KeyRing =>
  openKeyDirectory({
    directory: options.keys,
    clock: systemClock,
    scryptN,
    passphrases: passphrasesOf(options),
    hasTerminal: hasTerminal(),
  });

/** Mounts `pilotage release key …`: what people do with their own keys. */
export function registerKeys(release: Command): void {
  const key = release.command('key').description('Make, list and hand over the keys that sign releases.');
  const withKeys = (name: string, description: string) =>
    key.command(name).description(description).requiredOption('-k, --keys <dir>', 'directory of key files');
  const withPassphrase = (name: string, description: string) =>
    withKeys(name, description)
      .option('--passphrase-file <file>', 'first line is the passphrase; mode 0600')
      .option('--passphrase-dir <dir>', 'one passphrase file per key name; falls back to --passphrase-file');

  withPassphrase(
    'new <name> [command...]',
    'Make a key: an encrypted file; or with --public and a command after --, a key in a token or key service.\n' +
      'The command gets the bytes to sign on stdin and prints the signature; deploy/signers has ready ones.',
  )
    .addOption(
      new Option('--scheme <scheme>', 'kind of an encrypted key')
        .choices(keySchemes)
        .default(BARE_NODE_SCHEME),
    )
    .option('--public <file>', 'PEM of the public key or certificate of the key that the command signs with')
    .addOption(
      new Option('--encoding <form>', 'form of the printed signature').choices(['raw', 'hex', 'base64']),
    )
    .option('--timeout <seconds>', 'longest time for one signature, default 60')
    .option('--env <name=value>', 'variable for the command, repeatable; file names, no secrets', collect)
    .action(action<NewKeyOptions>(runNew));
  withKeys('list', 'List keys, where they are, and whether they can sign here.').action(
    action<KeyOptions>(async options => print(await keyRingOf(options).list(), options, describeKeys)),
  );
  withKeys(
    'export <name>',
    'Write the public part of a key, <name>.pub.json, for those who put it into a role.',
  )
    .requiredOption('-o, --out <file>', 'file, or directory for <name>.pub.json')
    .action(action(runExport));
  withPassphrase('change-passphrase <name>', 'Put a key file under another passphrase; the key stays.')
    .option('--new-passphrase-file <file>', 'first line is the new passphrase; mode 0600')
    .action(action(runChangePassphrase));
}

async function runNew(options: NewKeyOptions, name?: string, words?: string): Promise<void> {
  const command = (words ?? []) as string[]; // commander gives the rest of the line as a list
  requireName(name!);
  const isExternal = command.length > 0;
  if (isExternal !== (options.public !== undefined)) {
    throw libError({
      code: 'E_USAGE',
      message: 'A key that a command signs with needs both the command and its public key.',
      where: isExternal ? '--public' : 'command',
      expected: 'key new NAME --keys DIR --public FILE.pem -- COMMAND ARGUMENTS',
      fix: isExternal ? 'Give the public key with --public.' : 'Put the command after --.',
    });
  }
  const made = isExternal
    ? await newExternalKey(options, name!, command)
    : await keyRingOf(options).create(name!, options.scheme);
  print(made, options, describeNew);
}

async function newExternalKey(options: NewKeyOptions, name: string, command: string[]): Promise<KnownKey> {
  const { encoding, timeout, env = [] } = options;
  const parsed = SignerCommand.safeParse({
    command,
    ...(encoding === undefined ? {} : { encoding }),
    ...(timeout === undefined ? {} : { timeoutSeconds: Number(timeout) }),
    environment: Object.fromEntries(
      env.map(pair => [pair.split('=', 1)[0], pair.slice(pair.indexOf('=') + 1)]),
    ),
  });
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw libError({
      code: 'E_USAGE',
      message: `The command cannot be recorded: ${issue!.path.join('.')}: ${issue!.message}.`,
      where: 'command',
      fix: 'See: pilotage release key new --help',
    });
  }
  await ensureDirectory(options.keys, 0o700);
  return createExternalKey({
    path: keyFilePath(options.keys, name),
    name,
    public: await readPublicPem(options.public!),
    signer: parsed.data,
    nowMs: systemClock.now(),
    hasTerminal: hasTerminal(),
  });
}

/** @throws E_KEY_UNREADABLE, E_KEY_SCHEME, E_FILE_MISSING. */
async function readPublicPem(path: string): Promise<PublicKeyParts> {
  const text = await readTextBounded(path, 65_536);
  const unreadable = (cause?: unknown) =>
    signingError({
      code: 'E_KEY_UNREADABLE',
      message: 'The file holds no public key in PEM.',
      where: path,
      expected: '-----BEGIN PUBLIC KEY----- or a certificate',
      fix: 'Export the public key of the token as PEM: see deploy/signers.',
      cause,
    });
  if (!/-----BEGIN (PUBLIC KEY|RSA PUBLIC KEY|CERTIFICATE)-----/.test(text)) throw unreadable();
  let key;
  try {
    key = createPublicKey(text);
  } catch (error) {
    throw unreadable(error);
  }
  return publicParts(key, path);
}

async function runExport(options: KeyOptions & { out: string }, name?: string): Promise<void> {
  const keys = await keyRingOf(options).list();
  const key = keys.find(known => known.name === name);
  if (!key) {
    throw signingError({
      code: 'E_KEY_MISSING',
      message: `There is no key "${name}" in the keys directory.`,
      where: options.keys,
      expected: keys.map(known => known.name).join(', ') || 'the directory holds no key',
      fix: 'Name one of these keys.',
    });
  }
  const file: PublicKeyFile = { schema: 1, name: key.name, keyId: key.keyId, public: key.public };
  const path = (await isDirectory(options.out)) ? join(options.out, publicFileName(key.name)) : options.out;
  await writeFileAtomic(path, JSON.stringify(file, null, 2) + '\n');
  print({ name: key.name, keyId: key.keyId, file: path }, options, written =>
    [
      `Wrote the public part of ${written.name} to ${written.file}. There is no secret in it.`,
      `  key id: ${written.keyId}`,
      'Whoever puts the key into a role should compare this key id with you over another way.',
    ].join('\n'),
  );
}

const isDirectory = (path: string): Promise<boolean> =>
  stat(path).then(
    info => info.isDirectory(),
    () => false,
  );

async function runChangePassphrase(
  options: KeyOptions & { newPassphraseFile?: string },
  name?: string,
): Promise<void> {
  requireName(name!);
  const where = keyFilePath(options.keys, name!);
  const file = await readKeyFile(where);
  if ('signer' in file) {
    throw libError({
      code: 'E_USAGE',
      message: `The key "${name}" has no passphrase: a command signs with it.`,
      where,
      fix: 'Change the PIN with the tools of the token.',
    });
  }
  const old = await passphrasesOf(options)({ keyName: name!, where, isNew: false });
  if (options.newPassphraseFile === undefined && !hasTerminal()) {
    throw libError({
      code: 'E_USAGE',
      message: 'There is nobody to ask for the new passphrase.',
      where: '--new-passphrase-file',
      expected: 'a file of mode 0600 with the new passphrase, or a terminal',
      fix: 'Write it into a file, and name that with --new-passphrase-file.',
    });
  }
  // Never what the environment names: that is where the present one is.
  const next = await passphraseSource({
    file: options.newPassphraseFile,
    terminal: { input: process.stdin, output: process.stderr },
  })({ keyName: name!, where, isNew: true });
  await changePassphrase(where, file, { old, new: next });
  print({ name, keyId: file.keyId, file: where }, options, () => `The key ${name} has a new passphrase.`);
}

function requireName(name: string): void {
  const parsed = KeyName.safeParse(name);
  if (parsed.success) return;
  throw libError({
    code: 'E_USAGE',
    message: 'This is not a valid key name.',
    where: 'name',
    expected: parsed.error.issues[0]!.message,
    found: name.slice(0, 100),
    fix: 'Choose another name, for example manager-anna.',
  });
}

const describeNew = (key: KnownKey): string =>
  [
    `Made the key ${key.name} (${key.public.scheme}) in ${key.where}.`,
    `  key id: ${key.keyId}`,
    ...(key.public.scheme === BARE_NODE_SCHEME
      ? []
      : ['  Nodes that start with the shell bootstrap cannot check this kind of signature.']),
  ].join('\n');

const describeKeys = (keys: readonly KnownKey[]): string =>
  keys
    .map(
      ({ name, keyId, public: { scheme }, canSign }) =>
        `${name.padEnd(Math.max(...keys.map(key => key.name.length)))}  ${keyId.slice(0, 12)}  ${scheme}${canSign ? '' : '  (public part only)'}`,
    )
    .join('\n') || 'There is no key in this directory.';
