-- The user that kemi-trunkauth connects as: it may read the columns that calls need, and nothing else. Run after
-- tables.sql, by an administrator, any number of times: mysql trunks < db/mysql/reader.sql (MariaDB 10.4.2, MySQL 5.7.6
-- or newer). It stays locked until it gets its password:
-- ALTER USER kemi_trunkauth IDENTIFIED BY '...' ACCOUNT UNLOCK;

CREATE USER IF NOT EXISTS kemi_trunkauth ACCOUNT LOCK;

REVOKE ALL PRIVILEGES, GRANT OPTION FROM kemi_trunkauth;

GRANT SELECT (table_name, table_version) ON version TO kemi_trunkauth;

GRANT SELECT (id, l_uuid, l_username, l_domain, r_username, r_domain, realm, auth_username, auth_password, auth_ha1,
              auth_proxy, expires, flags, reg_delay, contact_addr, socket) ON uacreg TO kemi_trunkauth;

-- From Kamailio 6.2 on.
SET @contact_user = (SELECT count(*) FROM information_schema.columns
                      WHERE table_schema = database() AND table_name = 'uacreg' AND column_name = 'contact_user');
SET @grant = if(@contact_user, 'GRANT SELECT (contact_user) ON uacreg TO kemi_trunkauth', 'DO 0');
PREPARE grant_contact_user FROM @grant;
EXECUTE grant_contact_user;
DEALLOCATE PREPARE grant_contact_user;

GRANT SELECT (id, grp, ip_addr, mask, port, tag) ON address TO kemi_trunkauth;

GRANT SELECT (id, l_uuid, enabled, priority, weight, max_calls, max_cps, probe, source_tag, inbound_uri,
              from_user, from_domain, identity, weakest_algorithm, answers_far_end, asks_alone, strip,
              prefix, number_format, country, tls_verify)
    ON trunk TO kemi_trunkauth;
