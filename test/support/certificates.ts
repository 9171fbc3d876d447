/** Certificates for tests, made with the program `openssl`. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A key and its certificate, which signs itself, as PEM texts. */
export interface Certificate {
  key: string
  cert: string
}

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

/**
 * Makes a certificate that signs itself.
 *
 * @param names what it is valid for, as OpenSSL writes it: `DNS:localhost,IP:127.0.0.1`
 */
export function selfSigned(names: string): Certificate {
  return made((key, cert) => [['req', '-x509', ...KEY, '-days', '2', ...subject(names), '-keyout', key, '-out', cert]])
}

/** Makes a certificate that was valid for a day in 2020. */
export function expired(names: string): Certificate {
  return made((key, cert, directory) => {
    const [config, request] = [join(directory, 'ca.conf'), join(directory, 'request.pem')]
    const database = `database = ${directory}/index\nserial = ${directory}/serial\nnew_certs_dir = ${directory}`
    const rules = 'default_md = sha256\npolicy = any\ncopy_extensions = copy'
    writeFileSync(config, `[ca]\ndefault_ca = it\n[it]\n${database}\n${rules}\n[any]\ncommonName = supplied\n`)
    writeFileSync(join(directory, 'index'), '')
    writeFileSync(join(directory, 'serial'), '01')
    const dates = ['-startdate', '20200101000000Z', '-enddate', '20200102000000Z']
    return [
      ['req', '-new', ...KEY, ...subject(names), '-keyout', key, '-out', request],
      ['ca', '-batch', '-config', config, '-selfsign', '-keyfile', key, ...dates, '-in', request, '-out', cert]
    ]
  })
}

function subject(names: string): string[] {
  return ['-subj', '/CN=test', '-addext', `subjectAltName=${names}`]
}

function made(commands: (key: string, cert: string, directory: string) => string[][]): Certificate {
  const directory = mkdtempSync(join(tmpdir(), 'ebb-cert-'))
  try {
    const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
    for (const args of commands(key, cert, directory)) execFileSync('openssl', args, { stdio: 'ignore' })
    return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
  } finally {
    rmSync(directory, { recursive: true })
  }
}
