import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import { ensureDirectory, writeFileAtomic } from '../../lib/files.ts';
import {
  createDevAuthority,
  issueDevServer,
  issueDevUser,
  issuePilotAuthority,
  openDevAuthority,
} from '../../signing/x509/dev-authority.ts';
import type { DevAuthority, DevCredential } from '../../signing/x509/dev-authority.ts';

/** Everything that a one-machine site shows and trusts; its authority is good for this machine and instance only. */
export interface SiteCredentials {
  instance: string;
  caFile: string;
  server: DevCredential;
  submitter: DevCredential;
  shifter: DevCredential;
  autopilot: DevCredential;
  pilotAuthority: { certificateFile: string; keyFile: string };
  secretKeyFile: string;
}

const RENEW_MS = 7 * 86_400_000;

/**
 * The credentials of a site: its dev authority is kept between starts and made anew in its last week; what it issues is
 * issued at each start.
 */
export async function siteCredentials(options: {
  directory: string;
  instance: string;
  clock: Clock;
}): Promise<SiteCredentials> {
  const { directory, clock } = options;
  await ensureDirectory(directory, 0o700);
  const dev = await devAuthority(options);
  const secretKeyFile = join(directory, 'submission.key');
  if (!existsSync(secretKeyFile)) {
    await writeFileAtomic(secretKeyFile, randomBytes(32).toString('hex') + '\n', { mode: 0o600 });
  }
  const validSeconds = Math.floor((dev.authority.certificate.notAfterMs - clock.now()) / 1000) - 60;
  const { certificateFile, keyFile } = await issuePilotAuthority(dev);
  return {
    instance: dev.instance,
    caFile: dev.caFile,
    server: await issueDevServer(dev, { validSeconds }),
    submitter: await issueDevUser(dev, 'submitter', { validSeconds }),
    shifter: await issueDevUser(dev, 'shifter', { validSeconds }),
    autopilot: await issueDevUser(dev, 'autopilot', { validSeconds }),
    pilotAuthority: { certificateFile, keyFile },
    secretKeyFile,
  };
}

async function devAuthority(options: {
  directory: string;
  instance: string;
  clock: Clock;
}): Promise<DevAuthority> {
  if (existsSync(join(options.directory, 'ca.pem'))) {
    const dev = await openDevAuthority(options.directory);
    if (dev.authority.certificate.notAfterMs - options.clock.now() > RENEW_MS) return dev;
    await rm(join(options.directory, 'ca.pem'));
  }
  return createDevAuthority(options);
}
