import { readFile } from 'node:fs/promises';

/**
 * The identity a database daemon runs under: nobody else's when we are an ordinary user; when we are root, whom the
 * daemons refuse, the system user their package made.
 */
export async function systemUser(name: string): Promise<{ uid: number; gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n');
  const fields = lines.map(line => line.split(':')).find(([user]) => user === name);
  if (fields === undefined) throw new Error(`there is no system user ${name}; run test/lab/install.sh`);
  return { uid: Number(fields[2]), gid: Number(fields[3]) };
}
