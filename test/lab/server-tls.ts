import { chown, copyFile, chmod } from 'node:fs/promises';
import { join } from 'node:path';

/** PEM files of a daemon's certificate and its private key. */
export interface ServerTls {
  certificate: string;
  key: string;
}

/** Copies for a daemon that runs as another user, which insists that its key is its own. */
export async function giveTls(
  directory: string,
  tls: ServerTls | undefined,
  user: { uid: number; gid: number } | undefined,
): Promise<ServerTls | undefined> {
  if (tls === undefined) return undefined;
  const copies = { certificate: join(directory, 'server.pem'), key: join(directory, 'server.key') };
  for (const name of ['certificate', 'key'] as const) {
    await copyFile(tls[name], copies[name]);
    await chmod(copies[name], 0o600);
    if (user !== undefined) await chown(copies[name], user.uid, user.gid);
  }
  return copies;
}
