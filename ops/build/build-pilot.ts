import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { writeReproducibleTar } from '../../lib/reproducible-tar.ts';
import { slimPackages } from './slim-packages.ts';

export interface BuiltPilot {
  file: string;
  version: string;
  commit: string;
  sha256: string;
  bytes: number;
  /** Path in the archive -> sha256. */
  files: Record<string, string>;
}

/**
 * `npm run build:pilot`: bundles agent/main.ts into `pilot.mjs` and the few files that it loads later, and packs them as
 * `<out>/pilot-<version>.tar.gz`, with a manifest. The same commit gives the same bytes, whatever the directory, the umask, the user and the time.
 */
export async function buildPilot(options: {
  root: string;
  out: string;
  commit?: string;
  /** Another version than package.json's: for a second build of the same version with other bytes. */
  version?: string;
}): Promise<BuiltPilot> {
  const root = resolve(options.root);
  const declared = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
  const version = options.version ?? declared.version;
  const commit = options.commit ?? commitOf(root);
  const bundle = await build({
    absWorkingDir: root,
    entryPoints: { pilot: 'agent/main.ts' },
    bundle: true,
    write: false,
    // What a pilot imports later, it loads later: the client of the code store is in files of its own.
    splitting: true,
    outdir: 'build',
    outExtension: { '.js': '.mjs' },
    chunkNames: 'chunk-[hash]',
    platform: 'node',
    format: 'esm',
    target: 'node26',
    minify: true,
    keepNames: false,
    legalComments: 'none',
    sourcemap: false,
    // One byte for each character in memory, too.
    charset: 'ascii',
    // Never reached by the pilot: it has no configuration file.
    external: ['yaml'],
    define: { 'process.env.NODE_ENV': '"production"' },
    // Packages in CommonJS call require(); an ES module has none.
    banner: {
      js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
    },
    plugins: [
      {
        name: 'version',
        setup: plugin =>
          // Else every edit of package.json would make another pilot.
          plugin.onLoad({ filter: /\/lib\/version\.ts$/ }, () => ({
            contents: `export const version = ${JSON.stringify(version)};`,
          })),
      },
      slimPackages(root),
    ],
    logLevel: 'silent',
  });
  const modules = numbered(new Map(bundle.outputFiles.map(({ path, text }) => [basename(path), text])));
  const files = Object.fromEntries(modules.map(({ path, content }) => [path, sha256(content)]));
  const manifest = { name: 'pilot', version, commit, files };
  const file = join(resolve(options.out), `pilot-${version}.tar.gz`);
  const manifestBytes = Buffer.from(`${JSON.stringify(manifest)}\n`);
  await writeReproducibleTar(file, [...modules, { path: 'manifest.json', content: manifestBytes }], 9);
  const packed = await readFile(file);
  return {
    file,
    version,
    commit,
    sha256: sha256(packed),
    bytes: packed.length,
    files: { ...files, 'manifest.json': sha256(manifestBytes) },
  };
}

const CHUNK = /chunk-[0-9A-Z]{8}\.mjs/g;

/** Gives the files names that say nothing of the builder's paths, as those of esbuild do: numbers in order of use. */
function numbered(texts: ReadonlyMap<string, string>): { path: string; content: Buffer }[] {
  const order = ['pilot.mjs'];
  for (const name of order) {
    for (const [chunk] of texts.get(name)!.matchAll(CHUNK)) if (!order.includes(chunk)) order.push(chunk);
  }
  const nameOf = (name: string) => (name === 'pilot.mjs' ? name : `part-${order.indexOf(name)}.mjs`);
  return order.map(name => ({
    path: nameOf(name),
    content: Buffer.from(texts.get(name)!.replaceAll(CHUNK, nameOf)),
  }));
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** The commit that is built; with "-dirty" when what ships differs from it, "unknown" outside a repository. */
function commitOf(root: string): string {
  const git = (...args: string[]) =>
    execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    const dirty = git(
      'status',
      '--porcelain',
      '--',
      'agent',
      'lib',
      'signing',
      'codecache',
      'package-lock.json',
    );
    return git('rev-parse', 'HEAD') + (dirty === '' ? '' : '-dirty');
  } catch {
    return 'unknown';
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const { values } = parseArgs({ options: { out: { type: 'string', default: join(root, 'build') } } });
  const built = await buildPilot({ root, out: values.out });
  process.stdout.write(`${JSON.stringify(built)}\n`);
}
