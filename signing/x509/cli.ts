import type { Command } from 'commander';
import { action, print } from '../../lib/cli.ts';
import type { PilotageError } from '../../lib/errors.ts';
import {
  createDevAuthority,
  devAuthorityDays,
  issueDevServer,
  issueDevUser,
  issuePilotAuthority,
  openDevAuthority,
  type DevCredential,
} from './dev-authority.ts';
import { showChain } from './show-chain.ts';

interface CertOptions {
  directory: string;
  json?: boolean;
}

/** Adds `pilotage cert …`: a dev authority for one machine, and a look at any certificate file. */
export function registerX509(program: Command): void {
  const cert = program
    .command('cert')
    .description(
      'Make certificates of a dev authority for this machine; show and judge any certificate file.',
    );
  const subcommand = (name: string, description: string) => cert.command(name).description(description);
  const inDirectory = (command: Command) =>
    command.requiredOption('-d, --directory <dir>', 'directory of the dev authority');

  inDirectory(
    subcommand(
      'init',
      `Make the dev authority of one instance: loopback names only, ${devAuthorityDays} days.`,
    ),
  )
    .requiredOption('-i, --instance <name>', 'name of the instance; it is the OU of every certificate')
    .action(
      action<CertOptions & { instance: string }>(async options => {
        const dev = await createDevAuthority(options);
        const pilots = await issuePilotAuthority(dev);
        const { certificate } = dev.authority;
        const made = {
          caFile: dev.caFile,
          dn: certificate.subjectDn,
          notAfterMs: certificate.notAfterMs,
          pilots,
        };
        print(made, options, () =>
          [
            `Made ${made.dn}, valid until ${day(made.notAfterMs)}.`,
            `  trust this file:      ${made.caFile}`,
            `  authority for pilots: ${pilots.certificateFile}`,
          ].join('\n'),
        );
      }),
    );
  inDirectory(subcommand('server', 'Issue a certificate for a server on this machine.'))
    .option('--name <name>', 'name of its files and its CN', 'server')
    .option('--host <host...>', 'names and addresses (default: localhost 127.0.0.1 ::1)')
    .action(
      action<CertOptions & { name: string; host?: string[] }>(async options => {
        const { name, host: hosts } = options;
        const dev = await openDevAuthority(options.directory);
        print(await issueDevServer(dev, { name, ...(hosts ? { hosts } : {}) }), options, describe);
      }),
    );
  inDirectory(
    subcommand('pilot-authority', 'Issue anew the authority that the server makes pilot certificates with.'),
  ).action(
    action<CertOptions>(async options => {
      print(await issuePilotAuthority(await openDevAuthority(options.directory)), options, describe);
    }),
  );
  inDirectory(
    subcommand('user', 'Issue a certificate for a person.').argument('<name>', 'becomes the CN'),
  ).action(
    action<CertOptions>(async (options, name) => {
      print(await issueDevUser(await openDevAuthority(options.directory), name), options, describe);
    }),
  );
  subcommand('show', 'Print the chain in a file and judge it: which rule it breaks, where, and the fix.')
    .argument('<file>', 'certificate or proxy file, PEM, leaf first')
    .option(
      '-t, --trust <path>',
      'file or directory of trusted authorities; without it the chain is only printed',
    )
    .option('--usage <client|server>', 'what it is to be used for (default: what it says of itself)')
    .action(
      action<{ json?: boolean; trust?: string; usage?: string }>(async (options, file) => {
        const { trust, usage } = options;
        const report = await showChain(file, {
          ...(trust ? { trust } : {}),
          ...(usage ? { usage } : {}),
          nowMs: Date.now(),
        });
        const { refusal, text, ...shown } = report;
        print({ ...shown, ...(refusal ? { refusal: parts(refusal) } : {}) }, options, () => text);
        if (refusal) throw refusal;
      }),
    );
}

const parts = ({ code, message, where, expected, found, rule, fix }: PilotageError) => ({
  code,
  message,
  where,
  expected,
  found,
  rule,
  fix,
});

const day = (ms: number): string => new Date(ms).toISOString().replace(/\.000Z$/, 'Z');

const describe = (made: DevCredential): string =>
  [
    `Issued ${made.dn}, valid until ${day(made.notAfterMs)}.`,
    `  certificate: ${made.certificateFile}`,
    `  key:         ${made.keyFile}`,
  ].join('\n');
