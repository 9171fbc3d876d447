/** The manifests in examples/kubernetes: valid by Kubernetes's own schemas, and what they run works. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { Cli, MAIN, ROOT, server } from './support/cli.js'
import { Nats, noNats } from './support/nats.js'
import { directory } from './support/sockets.js'

interface Container {
  command: string[]
  args: string[]
  env: { name: string; value?: string }[]
}

interface Manifest {
  apiVersion: string
  kind: string
  metadata: { name: string }
  data?: Record<string, string>
  spec?: { template?: { spec: { containers: Container[] } } }
}

const FOLDER = join(ROOT, 'examples/kubernetes')
const FILES = readdirSync(FOLDER)

function manifestsOf(file: string): Manifest[] {
  const documents = parseAllDocuments(readFileSync(join(FOLDER, file), 'utf8'), { strict: true })
  return documents.map((document) => {
    expect(document.errors).toEqual([])
    return document.toJS() as Manifest
  })
}

/** Validates a manifest against the JSON schema of its kind. Returns what is wrong. */
async function violations({ apiVersion, kind, ...rest }: Manifest): Promise<string> {
  const models = (await import(/* @vite-ignore */ `kubernetes-models/${apiVersion}`)) as Record<
    string,
    new (
      data: object
    ) => { validate(): void }
  >
  const Model = models[kind]
  if (Model === undefined) return `there is no ${kind} in ${apiVersion}`
  try {
    new Model(rest).validate()
    return ''
  } catch (error) {
    return (error as Error).message
  }
}

/** Has the compiler find fields that their types do not have, which the schemas accept. Returns its output. */
function unknownFields(manifests: readonly Manifest[]): string {
  const folder = mkdtempSync(join(ROOT, 'test', 'kubernetes-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  for (const [i, manifest] of manifests.entries()) {
    const { apiVersion, kind } = manifest
    const type = `import type { I${kind} } from 'kubernetes-models/${apiVersion}'`
    writeFileSync(join(folder, `m${i}.ts`), `${type}\nexport const m: I${kind} = ${JSON.stringify(manifest)}\n`)
  }
  const compilerOptions = { noEmit: true, skipLibCheck: true, types: [] }
  const config = { extends: '../../tsconfig.base.json', compilerOptions, include: ['*.ts'] }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
  const tsc = join(ROOT, 'node_modules/@typescript/native/bin/tsc')
  return spawnSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8' }).stdout
}

test.each(FILES)('%s matches the schemas of its kinds', async (file) => {
  for (const manifest of manifestsOf(file))
    expect({ file, wrong: await violations(manifest) }).toEqual({ file, wrong: '' })
})

test('no manifest has a field that its kind does not have', () => {
  expect(unknownFields(FILES.flatMap(manifestsOf))).toBe('')
})

test('the schemas notice mistakes', async () => {
  const [job] = manifestsOf('swarm-agents.yaml') as [Manifest]
  expect(await violations({ ...job, spec: { ...job.spec, parallelism: '4' } } as Manifest)).toMatch(
    /parallelism must be/
  )
  expect(await violations({ ...job, kind: 'Jobs' })).toMatch(/there is no Jobs/)
  expect(unknownFields([{ ...job, spec: { ...job.spec, paralelism: 4 } } as Manifest])).toMatch(/paralelism/)
})

test.skipIf(noNats !== undefined)('NATS, agents and coordinator work with the arguments of the manifests', async () => {
  const [config] = manifestsOf('swarm-nats.yaml') as [Manifest]
  const folder = directory()
  const file = join(folder, 'nats.conf')
  writeFileSync(
    file,
    config.data?.['nats.conf']
      ?.replace('/data', folder)
      .replace(/^http_port: .*$/m, '')
      .replace(/^port: .*$/m, '') ?? ''
  )
  const nats = await Nats.start(['-c', file], { env: { NATS_TOKEN: 'ebb-1' } })
  const held = await server()
  const start = (manifest: string, pod: string, more: readonly string[] = []): Cli => {
    const [{ spec }] = manifestsOf(manifest) as [Manifest]
    const { args = [], env = [] } = spec?.template?.spec.containers[0] ?? {}
    const given = args.map((arg) => arg.replace('$(POD_NAME)', pod).replace('app:8080', `127.0.0.1:${held.port}`))
    expect(env.map(({ name }) => name)).toEqual(expect.arrayContaining(['NATS_URL', 'NATS_TOKEN']))
    return new Cli([process.execPath, MAIN, ...given, ...more], { env: { NATS_URL: nats.url, NATS_TOKEN: 'ebb-1' } })
  }
  const agents = ['ebb-agents-0', 'ebb-agents-1', 'ebb-agents-2', 'ebb-agents-3'].map((pod) =>
    start('swarm-agents.yaml', pod)
  )
  await Promise.all(agents.map((agent) => agent.said(/^Agent ebb-agents-\d of swarm lab /m)))
  const small = ['--big', '60', '-i', '1', '--small', '0', '-l', '100ms']
  const { code, stdout, stderr } = await start('swarm-pulse.yaml', '', small).ended
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(/^Run [0-9a-f]{32}: /m) })
  expect(JSON.parse(stdout)).toMatchObject({ connected: 60, swarm: { degraded: false } })
  for (const agent of agents) expect(await agent.end('SIGTERM')).toMatchObject({ code: 0 })
})
