-- The role that kemi-trunkauth connects as: it may read the columns that calls need, and nothing else. Run after
-- tables.sql, as the tables' owner or a superuser, any number of times: psql -d trunks -f db/postgresql/reader.sql
-- Another name: -v role=name. It gets no password here; set it with \password kemi_trunkauth. LISTEN needs no grant.

\if :{?role}
\else
    \set role kemi_trunkauth
\endif

SELECT format('CREATE ROLE %I LOGIN', :'role')
 WHERE NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = :'role') \gexec

REVOKE ALL ON version, uacreg, address, trunk FROM :"role";

GRANT SELECT (table_name, table_version) ON version TO :"role";

GRANT SELECT (id, l_uuid, l_username, l_domain, r_username, r_domain, realm, auth_username, auth_password, auth_ha1,
              auth_proxy, expires, flags, reg_delay, contact_addr, socket) ON uacreg TO :"role";

-- From Kamailio 6.2 on.
SELECT format('GRANT SELECT (contact_user) ON uacreg TO %I', :'role')
 WHERE EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = 'uacreg'::regclass AND attname = 'contact_user') \gexec

GRANT SELECT (id, grp, ip_addr, mask, port, tag) ON address TO :"role";

GRANT SELECT (id, l_uuid, enabled, priority, weight, max_calls, max_cps, probe, source_tag, inbound_uri,
              from_user, from_domain, identity, weakest_algorithm, answers_far_end, asks_alone, strip,
              prefix, number_format, country, tls_verify)
    ON trunk TO :"role";
