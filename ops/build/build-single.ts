import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { build } from 'esbuild';

export interface BuiltSingle {
  file: string;
  version: string;
  /** `linux-x64` or `linux-arm64`. */
  architecture: string;
  bytes: number;
}

/**
 * `npm run build:single`: one executable file, `<out>/pilotage-node-<version>-<architecture>`, that verifies and starts a
 * pilot as the wrapper does, with Node in it (about 150 MB). A convenience for nodes where a file can be placed and a
 * shell script cannot run; the wrapper is what the autopilot submits.
 * For another architecture than this machine's, run it with the Node version that is packed: `--build-sea` writes for
 * its own version.
 */
export async function buildSingle(options: {
  root: string;
  out: string;
  architecture?: string;
}): Promise<BuiltSingle> {
  const root = resolve(options.root);
  const architecture = options.architecture ?? `linux-${process.arch}`;
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
  const file = join(resolve(options.out), `pilotage-node-${version}-${architecture}`);
  await mkdir(resolve(options.out), { recursive: true });
  const node = join(root, 'node_modules', `node-${architecture}`, 'bin', 'node');
  const builder = architecture === `linux-${process.arch}` ? node : process.execPath;
  const work = await mkdtemp(`${file}.`);
  try {
    const main = join(work, 'single.mjs');
    await bundle(root, main);
    const config = join(work, 'single.json');
    const output = join(work, 'single');
    const settings = {
      main,
      mainFormat: 'module',
      output,
      executable: node,
      disableExperimentalSEAWarning: true,
      // NODE_OPTIONS of a job must not change what verifies.
      execArgvExtension: 'none',
    };
    await writeFile(config, JSON.stringify(settings));
    await promisify(execFile)(builder, ['--build-sea', config], { cwd: work });
    await rename(output, file);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return { file, version, architecture, bytes: (await stat(file)).size };
}

const bundle = (root: string, outfile: string) =>
  build({
    absWorkingDir: root,
    entryPoints: ['codecache/bootstrap/single.ts'],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node26',
    minify: true,
    legalComments: 'none',
    // Packages in CommonJS call require(); an ES module has none.
    banner: {
      js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
    },
    logLevel: 'silent',
  });

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const { values } = parseArgs({
    options: { out: { type: 'string', default: join(root, 'build') }, arch: { type: 'string' } },
  });
  const built = await buildSingle({
    root,
    out: values.out,
    ...(values.arch !== undefined && { architecture: values.arch }),
  });
  process.stdout.write(`${JSON.stringify(built)}\n`);
}
